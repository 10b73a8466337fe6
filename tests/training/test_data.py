"""Labelled rows: strict, kept apart by article, encoded as tagging encodes them."""

import gzip
import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from yaqin.inference.errors import YaqinError
from yaqin.inference.inputs import InputEncoder
from yaqin.inference.text import prepare
from yaqin.training.data import IGNORED, LabelledRow, encode_rows, label_counts, read_rows, refuse_leakage


def _write(path: Path, *rows: object) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows), encoding="utf-8")
    return path


def test_gzip_and_plain_files_give_the_same_rows(tmp_path: Path) -> None:
    plain = _write(tmp_path / "rows.jsonl", {"text": "وصل القطار.", "label": "confirmed", "further": 1}, "")
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert read_rows([plain]) == read_rows([packed]) == [LabelledRow(text="وصل القطار.", label="confirmed")]


def test_bad_rows_are_all_named_and_none_is_coerced(tmp_path: Path) -> None:
    path = _write(
        tmp_path / "rows.jsonl",
        {"text": "وصل القطار.", "label": "confirmed"},
        {"text": "وصل القطار.", "label": "certain"},
        {"text": 7, "label": "hedged"},
        {"label": "hedged"},
        "{broken",
        {"text": "   ", "label": "none"},
        {"text": "نص", "label": "hedged", "document": 3},
    )
    with pytest.raises(YaqinError, match="6 bad row") as caught:
        read_rows([path])
    for line in (2, 3, 4, 5, 6, 7):
        assert f"rows.jsonl:{line}: " in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "found an empty file"), (b"\x1f\x8bbroken", "expected a readable label file")]
)
def test_empty_and_broken_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(content or gzip.compress(content))
    with pytest.raises(YaqinError, match=message):
        read_rows([path])
    with pytest.raises(YaqinError, match="No such file"):
        read_rows([tmp_path / "none.jsonl"])


def _row(text: str, document: str, label: str = "confirmed") -> LabelledRow:
    return LabelledRow.model_validate({"text": text, "label": label, "document": document})


TRAIN = [
    _row("افتتح رئيس البلدية الحديقة الجديدة بعد عامين من الأشغال.", "a"),
    _row("خسر الفريق الضيف مباراته الثالثة على التوالي.", "b"),
]


def test_articles_in_both_sets_are_refused() -> None:
    with pytest.raises(YaqinError, match="split by article"):
        refuse_leakage(TRAIN, [_row("جملة أخرى لا تشبه سواها.", "a")], near_duplicate=0.8)


def test_near_duplicates_across_the_sets_are_refused() -> None:
    twin = _row("افتتح رئيس البلدية الحديقةَ الجديدة، بعد عامين من الأشغال", "c")
    with pytest.raises(YaqinError, match="near-duplicate"):
        refuse_leakage(TRAIN, [twin], near_duplicate=0.8)
    refuse_leakage(TRAIN, [_row("ألغيت الرحلة بسبب الضباب الكثيف.", "c")], near_duplicate=0.8)


def test_the_repositorys_own_split_holds(repository: Path) -> None:
    train, test = (read_rows([repository / "seeds" / f"written-{name}.jsonl"]) for name in ("train", "test"))
    refuse_leakage(train, test, near_duplicate=0.8)
    assert len(train) == 588
    assert len(test) == 144
    assert label_counts(train).min() > 100


def test_the_contrast_test_is_of_other_propositions_in_the_same_constructions(repository: Path) -> None:
    seeds = repository / "seeds"
    train = read_rows([seeds / "contrast-train.jsonl", seeds / "written-train.jsonl"])
    test = read_rows([seeds / "contrast-test.jsonl"])
    refuse_leakage(train, test, near_duplicate=0.6)
    constructions = {row.construction for row in test}
    assert constructions == {row.construction for row in train} - {""}
    assert len(constructions) == 75
    assert label_counts(test).min() > 180
    for row in [*train, *test]:
        assert row.cue in row.text
        assert row.source in row.text


def test_the_articles_of_the_test_are_other_writers(repository: Path) -> None:
    seeds = repository / "seeds"
    written = [seeds / f"{name}-train.jsonl" for name in ("articles", "contrast", "written")]
    train, test = read_rows(written), read_rows([seeds / "articles-test.jsonl"])
    refuse_leakage(train, test, near_duplicate=0.8)
    assert len({row.document for row in test}) == 24
    assert label_counts(test).min() > 40
    for row in [*train, *test]:
        assert row.cue in row.text
        assert row.source in row.text


def test_the_news_split_holds(shared: Path, repository: Path) -> None:
    train = read_rows([shared / "data" / "news-train.jsonl.gz", repository / "seeds" / "written-train.jsonl"])
    refuse_leakage(train, read_rows([shared / "data" / "news-dev.jsonl.gz"]), near_duplicate=0.8)


def test_no_cue_makes_more_than_a_twentieth_of_its_class(written: list[dict[str, str]]) -> None:
    for label in ("attributed", "hedged", "unverified"):
        cues = [prepare(row["cue"]) for row in written if row["label"] == label]
        assert max(cues.count(cue) for cue in set(cues) - {""}) <= 0.05 * len(cues)


@pytest.mark.parametrize("context", ["none", "previous"])
def test_evidence_labels_stand_on_the_cue_and_the_source(tiny_encoder: Path, context: str) -> None:
    tokenizer = Tokenizer.from_file(str(tiny_encoder / "tokenizer.json"))
    row = LabelledRow(
        text="وقالت الوزارةُ إن الجسر أُغلق.", label="attributed", cue="قالت", source="الوزارةُ", previous="قالت الوزارة."
    )
    encoder = InputEncoder(tokenizer, max_length=64, context=context)
    dataset = encode_rows([row], encoder).dataset
    ids, labels = dataset["input_ids"][0], dataset["evidence_labels"][0]
    assert len(ids) == len(labels)

    def spelled(value: int) -> str:
        pieces = [tokenizer.id_to_token(i) for i, label in zip(ids, labels, strict=True) if label == value]
        return "".join(piece.removeprefix("##") for piece in pieces)

    assert "قالت" in spelled(1)
    assert spelled(2) == "الوزارة"
    assert labels[0] == IGNORED


def test_rows_without_a_claim_teach_the_claim_head_alone(tiny_encoder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(tiny_encoder / "tokenizer.json"))
    rows = [_row("كتب: مراسلنا", "a", "none"), _row("وصل القطار.", "b")]
    dataset = encode_rows(rows, InputEncoder(tokenizer, max_length=64)).dataset
    assert list(dataset["targets"]) == [[0, 0, 0, 0], [1, 0, 0, 0]]
    assert list(dataset["claim_targets"]) == [0.0, 1.0]


def test_taught_rows_have_soft_targets_and_no_evidence(tiny_encoder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(tiny_encoder / "tokenizer.json"))
    mean = {"confirmed": 0.75, "attributed": 0.25, "hedged": 0.0, "unverified": 0.0}
    row = _row("وصل القطار.", "a").model_copy(update={"probabilities": mean, "claim_probability": 0.5})
    dataset = encode_rows([row], InputEncoder(tokenizer, max_length=64)).dataset
    assert list(dataset["targets"]) == [[0.375, 0.125, 0, 0]]
    assert list(dataset["claim_targets"]) == [0.5]
    assert set(dataset["evidence_labels"][0]) == {IGNORED}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ('"probabilities": {"confirmed": 1.0}, "claim_probability": 1.0', "expected probabilities of confirmed, attr"),
        ('"claim_probability": 1.0', "expected probabilities and claim_probability together"),
        ('"claim_probability": 7.0', "claim_probability: Input should be less than or equal to 1"),
    ],
)
def test_half_a_teaching_is_refused(tmp_path: Path, fields: str, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"text": "وصل القطار.", "label": "confirmed", {fields}}}\n', encoding="utf-8")
    with pytest.raises(YaqinError, match=message):
        read_rows([path])


def test_what_does_not_fit_is_cut_and_counted(tiny_encoder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(tiny_encoder / "tokenizer.json"))
    features = encode_rows([_row("كلمة " * 100, "a"), _row("كلمة.", "b")], InputEncoder(tokenizer, max_length=16))
    assert features.n_truncated == 1
    assert max(features.dataset["length"]) == 16
