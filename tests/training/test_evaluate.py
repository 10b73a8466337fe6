import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from yaqin.inference.checkpoint import LABELS
from yaqin.inference.errors import YaqinError
from yaqin.training.data import LabelledRow, read_rows
from yaqin.training.evaluate import evaluate, summarise, write_report
from yaqin.training.pictures import FORMATS, PICTURES


@dataclass(frozen=True)
class FakeTag:
    tag: str | None
    probabilities: dict[str, float]
    truncated: bool = False


class FakeTagger:
    """Answers what `answers` says of a sentence, with 0.7 for that class."""

    def __init__(self, answers: Callable[[str], str]) -> None:
        self._answers = answers
        self.previous: Sequence[str | None] | None = None

    def tag(self, sentences: Sequence[str], previous: Sequence[str | None] | None = None) -> list[FakeTag]:
        self.previous = previous
        return [self._tag(sentence) for sentence in sentences]

    def _tag(self, sentence: str) -> FakeTag:
        label = self._answers(sentence)
        best = "confirmed" if label == "none" else label
        probabilities = {name: 0.7 if name == best else 0.1 for name in LABELS}
        return FakeTag(None if label == "none" else label, probabilities, truncated=len(sentence) > 200)


def row(text: str, label: str, **fields: str) -> LabelledRow:
    return LabelledRow.model_validate({"text": text, "label": label, **fields})


ROWS = [
    row("هطل المطر على الساحل", "confirmed", id="r1", document="a", outlet="النهار", sampling="random"),
    row(
        "قال الصياد إن البحر هادئ",
        "attributed",
        id="r2",
        document="a",
        outlet="النهار",
        sampling="random",
        previous="هطل المطر",
    ),
    row("ربما تشرق الشمس غدا", "hedged", id="r3", document="b", outlet="البيدر", sampling="cue-enriched"),
    row("ترددت أنباء عن غرق مركب", "unverified", id="r4", document="c", sampling="cue-enriched", kind="headline"),
    row("إلى أين؟", "none", id="r5", document="c", outlet="النهار", sampling="random"),
    row("كلمة " * 60, "confirmed", id="r6", document="d", sampling="random"),
]
GOLD = {r.text: r.label for r in ROWS}


def report(answers: Callable[[str], str] = GOLD.__getitem__, **options: Any) -> dict[str, Any]:
    return evaluate(FakeTagger(answers), ROWS, name="fake", **options)


def test_a_perfect_tagger_scores_one_everywhere() -> None:
    perfect = report()
    assert perfect["overall"]["macro_f1"] == perfect["overall"]["no_claim"]["f1"] == 1
    assert perfect["overall"]["ece"] == pytest.approx(0.3)
    assert perfect["errors"] == []


def test_the_arg_max_counts_even_where_the_tag_is_null() -> None:
    silent = report(lambda text: "none" if GOLD[text] == "confirmed" else GOLD[text])
    assert silent["overall"]["macro_f1"] == 1
    assert silent["overall"]["no_claim"]["precision"] == pytest.approx(1 / 3)


def test_errors_are_named_by_id_and_no_text_leaves() -> None:
    wrong = report(lambda _: "hedged")
    assert {error["id"] for error in wrong["errors"]} == {"r1", "r2", "r4", "r6"}
    assert wrong["errors"][0]["predicted"] == "hedged"
    body = json.dumps(wrong, ensure_ascii=False)
    assert not any(r.text in body for r in ROWS)


def test_every_row_stands_once_in_every_kind_of_slice() -> None:
    slices = report()["slices"]
    assert {title: set(found) for title, found in slices.items()} == {
        "sampling": {"random", "cue-enriched"},
        "kind": {"body", "headline"},
        "length": {"1-15", "over 50"},
        "outlet": {"النهار", "البيدر", "unknown"},
    }
    assert {sum(s["n_rows"] for s in found.values()) for found in slices.values()} == {len(ROWS)}
    assert slices["sampling"]["random"]["per_class"]["confirmed"]["precision"] == 1
    assert slices["sampling"]["random"]["ece"] == pytest.approx(0.3)


def test_contrast_sentences_are_scored_by_construction() -> None:
    rows = [row("قد يصل القطار", "hedged", construction="qad"), row("وقد وصل القطار", "confirmed", construction="qad")]
    found = evaluate(FakeTagger(lambda _: "hedged"), [*ROWS, *rows], name="fake")
    assert found["slices"]["construction"]["qad"]["accuracy"] == 0.5
    assert "construction qad                        2 claims, accuracy 0.50" in summarise(found)


def test_slices_of_less_than_thirty_claims_are_flagged() -> None:
    rows = [row("هطل المطر", "confirmed", outlet="كبير")] * 30 + [row("هطل المطر", "confirmed", outlet="صغير")] * 29
    outlets = evaluate(FakeTagger(lambda _: "confirmed"), rows, name="fake")["slices"]["outlet"]
    assert (outlets["كبير"]["small"], outlets["صغير"]["small"]) == (False, True)


def test_a_slice_without_claims_has_counts_only() -> None:
    rows = [*ROWS, row("لماذا؟", "none", outlet="الشاطئ")]
    outlet = evaluate(FakeTagger(lambda text: GOLD.get(text, "none")), rows, name="fake")["slices"]["outlet"]["الشاطئ"]
    assert outlet == {"n_rows": 1, "n_claims": 0, "small": True}


def test_the_sentence_before_reaches_the_tagger() -> None:
    tagger = FakeTagger(GOLD.__getitem__)
    evaluate(tagger, ROWS, name="fake")
    assert tagger.previous == [None, "هطل المطر", None, None, None, None]


def test_truncated_sentences_are_counted() -> None:
    assert report()["n_truncated"] == 1


def test_baselines_stand_beside() -> None:
    assert set(report()["baselines"]) == {"lexicon"}
    assert set(report(train=ROWS * 2)["baselines"]) == {"majority", "lexicon", "tfidf"}


def test_rows_without_any_claim_are_refused() -> None:
    with pytest.raises(YaqinError, match=r"expected labelled rows of the classes .* found none among 1"):
        evaluate(FakeTagger(lambda _: "none"), [row("إلى أين؟", "none")], name="fake")


def test_the_report_becomes_json_and_pictures(tmp_path: Path) -> None:
    written = report()
    write_report(written, tmp_path / "new" / "folder")
    files = {path.name: path for path in (tmp_path / "new" / "folder").iterdir()}
    assert set(files) == {"evaluation.json"} | {f"{p}.{suffix}" for p in PICTURES for suffix in FORMATS}
    read = json.loads(files["evaluation.json"].read_text(encoding="utf-8"))
    assert read == json.loads(json.dumps(written))
    assert all(path.stat().st_size > 1000 for path in files.values())


def test_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_report(report(), tmp_path / name)
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes(), path.name


def test_the_summary_has_a_line_each_for_tagger_baselines_and_sampling() -> None:
    lines = summarise(report()).splitlines()
    assert [line.split("  ")[0] for line in lines[1:-1]] == [
        "fake",
        "lexicon",
        "sampling random",
        "sampling cue-enriched",
        "left out: majority, tfidf, which learn from --train FILE",
    ]
    assert "1.000" in lines[1]
    assert lines[-1].startswith("ECE 0.300")


def lexicon_f1(rows: Sequence[LabelledRow]) -> float:
    return float(evaluate(FakeTagger(lambda _: "attributed"), rows, name="fake")["baselines"]["lexicon"]["macro_f1"])


def test_the_lexicon_beats_one_tag_for_all_on_written_sentences(repository: Path) -> None:
    assert lexicon_f1(read_rows([repository / "seeds" / "written-test.jsonl"])) > 0.5


def test_the_lexicon_beats_one_tag_for_all_on_news(shared: Path) -> None:
    assert lexicon_f1(read_rows([shared / "data" / "news-dev.jsonl.gz"])) > 0.5
