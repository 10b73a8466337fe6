"""Labels travel without text, and find exactly the text they were made for or say why not."""

import gzip
import hashlib
import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from yaqin.inference.errors import YaqinError
from yaqin.inference.hydrate import MISSING_SUFFIX, HydrationResult, hydrate, strip_text

SEEDS = Path(__file__).parents[1] / "seeds"
TRAINING = ("train", "more", "later", "rare")
SHARED = os.environ.get("YAQIN_SHARED")

HARBOUR = "txt/harbour/2031-05-04 08:23:44#7f.txt"
ORCHARD = "orchard/2.txt"
BEFORE = "وصلت  الرافعة\tالجديدة\nإلى الميناء."
SENTENCE = "فقال مدير المرفأ إن «المقال» سيعلّق على اللوحة 😀 غدا."
HEADLINE = "موسم المشمش يبدأ باكرا"
ARTICLES = {
    ("made-up/harbour", HARBOUR): f"رافعة للميناء\n\n{BEFORE}\n{SENTENCE}\n",
    ("made-up/orchard", ORCHARD): f"<TITLE>{HEADLINE}</TITLE>\n",
}


def row(key: tuple[str, str], text: str, previous: str = "", **more: Any) -> dict[str, Any]:
    """Make a labelled row with text from a made-up article."""
    article = ARTICLES[key]
    start = article.index(text)
    made: dict[str, Any] = {
        "id": hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:12],
        "collection": key[0],
        "document": key[1],
        "outlet": "made-up",
        "kind": "body",
        "text": text,
        "previous": " ".join(previous.split()),
        "label": "confirmed",
        "cue": "",
        "source": "",
        "confidence": 3,
        "sampling": "random",
        "start": start,
        "end": start + len(text),
        "sha1": hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(),
    } | more
    if previous:
        before = article.index(previous)
        made |= {"previous_start": before, "previous_end": before + len(previous)}
    return made


ROWS = [
    row(
        ("made-up/harbour", HARBOUR),
        SENTENCE,
        BEFORE,
        label="attributed",
        cue="قال",
        source="مدير المرفأ",
        label_a="attributed",
        label_b="hedged",
    ),
    row(("made-up/orchard", ORCHARD), HEADLINE, kind="headline"),
]


def write_clones(folder: Path) -> list[Path]:
    """Write both made-up collections as clones hold them."""
    for (collection, document), article in ARTICLES.items():
        path = folder / collection / document
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(article.encode())
    return [folder / "made-up/harbour", folder / "made-up/orchard"]


def write_labels(path: Path, **changes: Any) -> Path:
    """Write the labels of `ROWS`, the first one changed."""
    strip_text(ROWS, path)
    lines = read(path)
    lines[0] |= changes
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in content.splitlines()]


def missing(output: Path) -> list[dict[str, Any]]:
    """Read what is reported as missing."""
    return read(output.with_name(output.name + MISSING_SUFFIX))


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
@pytest.mark.parametrize("turn", [1, -1])
def test_stripped_rows_come_back_whole_from_clones_in_any_order(tmp_path: Path, name: str, turn: int) -> None:
    labels, output = tmp_path / "labels.jsonl.gz", tmp_path / "new folder" / name
    strip_text(ROWS, labels)

    result = hydrate(labels, write_clones(tmp_path)[::turn], output)

    assert result == HydrationResult(rows=2, hydrated=2, missing=0)
    assert read(output) == ROWS
    assert [list(line) for line in read(output)] == [list(line) for line in ROWS]  # the same order of fields
    assert [path.name for path in output.parent.iterdir()] == [name]


def test_a_label_file_holds_places_and_no_words(tmp_path: Path) -> None:
    strip_text([ROWS[0] | {"note": "ملاحظة المعلّق"}, ROWS[1]], tmp_path / "labels.jsonl")
    content = (tmp_path / "labels.jsonl").read_text(encoding="utf-8")
    first, second = read(tmp_path / "labels.jsonl")

    assert content.isascii() and "\\u" not in content
    assert (first["cue"], first["source"]) == ([1, 4], [5, 16])
    assert (second["cue"], second["source"]) == (None, None)
    assert "previous_start" in first and "previous_start" not in second


def test_a_cue_is_placed_where_it_is_a_word_of_its_own(tmp_path: Path) -> None:
    text = "المقال قال كل شيء"
    digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    strip_text([ROWS[1] | {"text": text, "cue": "قال", "source": "لمقا", "sha1": digest}], tmp_path / "labels.jsonl")

    [label] = read(tmp_path / "labels.jsonl")
    assert label["cue"] == [7, 10]  # not inside the first word
    assert label["source"] == [1, 5]  # nowhere a word: where it stands


def test_equal_rows_give_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strip_text(ROWS, tmp_path / "one.jsonl.gz")
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
    strip_text(ROWS, tmp_path / "two.jsonl.gz")

    assert (tmp_path / "one.jsonl.gz").read_bytes() == (tmp_path / "two.jsonl.gz").read_bytes()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"text": SENTENCE[:-1]}, "row 1: expected a text with the SHA-1 .*, found"),
        ({"cue": "زعم"}, "row 1: expected .* in the text, found it nowhere"),
        ({"start": None}, 'row 1: expected a whole number in "start", found null'),
    ],
)
def test_rows_that_could_not_come_back_are_not_stripped(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(YaqinError, match=reason):
        strip_text([ROWS[0] | changes], tmp_path / "labels.jsonl")
    with pytest.raises(YaqinError, match="row 1: expected the field 'text', found nothing"):
        strip_text([{key: value for key, value in ROWS[0].items() if key != "text"}], tmp_path / "labels.jsonl")
    assert not list(tmp_path.iterdir())


def test_carriage_returns_do_not_move_the_offsets(tmp_path: Path) -> None:
    clones = write_clones(tmp_path)
    document = clones[0] / HARBOUR
    document.write_bytes(document.read_bytes().replace(b"\n", b"\r\n"))

    assert hydrate(write_labels(tmp_path / "labels.jsonl"), clones, tmp_path / "rows.jsonl").missing == 0
    assert read(tmp_path / "rows.jsonl") == ROWS


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            ARTICLES["made-up/harbour", HARBOUR].replace("غدا", "بعد").encode(),
            "the document has changed: expected .* found",
        ),
        (b"", "the document has changed"),
        (b"\xc7\xe1", "expected a document in UTF-8, found byte 0xc7"),
        (None, "the document stands in no clone: expected one of github.com/made-up/harbour"),
    ],
)
def test_a_row_whose_document_is_another_is_reported_and_not_filled(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    clones = write_clones(tmp_path)
    labels, output = write_labels(tmp_path / "labels.jsonl"), tmp_path / "rows.jsonl"
    (clones[0] / HARBOUR).unlink() if content is None else (clones[0] / HARBOUR).write_bytes(content)

    assert hydrate(labels, clones, output) == HydrationResult(rows=2, hydrated=1, missing=1)
    assert read(output) == ROWS[1:]
    [report] = missing(output)
    assert re.match(reason, report.pop("reason"))
    assert report == {"file": str(labels), "line": 1, "id": ROWS[0]["id"], "document": HARBOUR}


def test_a_row_is_taken_from_the_clone_that_has_its_words(tmp_path: Path) -> None:
    clones, other = write_clones(tmp_path), tmp_path / "older"
    (other / HARBOUR).parent.mkdir(parents=True)
    (other / HARBOUR).write_text("رافعة أخرى", encoding="utf-8")

    assert hydrate(write_labels(tmp_path / "labels.jsonl"), [other, *clones], tmp_path / "rows.jsonl").missing == 0


@pytest.mark.parametrize("document", ["../secret.txt", "txt/../../secret.txt", "{outside}/secret.txt", "link.txt"])
def test_a_path_that_leaves_the_clone_is_never_read(tmp_path: Path, document: str) -> None:
    clones = write_clones(tmp_path)
    secret = clones[0].parent / "secret.txt"
    secret.write_text(ARTICLES["made-up/harbour", HARBOUR], encoding="utf-8")  # its hash would fit
    (clones[0] / "link.txt").symlink_to(secret)
    document = document.replace("{outside}", str(secret.parent))

    result = hydrate(write_labels(tmp_path / "labels.jsonl", document=document), clones, tmp_path / "rows.jsonl")

    assert (result.hydrated, result.missing) == (1, 1)
    assert missing(tmp_path / "rows.jsonl")[0]["reason"].endswith("found a path that leaves it")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"id": "a", ', "expected JSON, found"),
        (b"\xff\xfe\xfd\n", "expected JSON, found"),
        (b"[" * 100_000, "expected JSON, found"),
        (b"[1]", "expected a JSON object, found list"),
        (b'{"id": "a"}', 'expected a string in "collection", found nothing'),
    ],
)
def test_a_broken_label_line_is_reported_with_its_number(tmp_path: Path, line: bytes, reason: str) -> None:
    labels, output = write_labels(tmp_path / "labels.jsonl"), tmp_path / "rows.jsonl"
    labels.write_bytes(labels.read_bytes() + b"\n" + line.rstrip() + b"\n")

    assert hydrate(labels, write_clones(tmp_path), output) == HydrationResult(rows=3, hydrated=2, missing=1)
    assert read(output) == ROWS
    [report] = missing(output)
    assert (report["file"], report["line"], report["document"]) == (str(labels), 4, None)
    assert report["reason"].startswith(reason)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"start": "16"}, 'expected a whole number in "start", found "16"'),
        ({"document": None}, 'expected a string in "document", found null'),
        ({"document": "a\0b"}, "embedded null"),
        ({"document": "a" * 5_000}, "expected a readable document, found"),
        ({"outlet": "\ud800"}, "surrogates not allowed"),
        ({"cue": [3, 999]}, r'expected \[start, end\] within \d+ characters in "cue", found \[3, 999\]'),
        ({"source": "مدير"}, r'expected \[start, end\] within \d+ characters in "source"'),
        ({"previous_end": 9_999}, r'expected \[start, end\] within \d+ characters in "previous"'),
        ({"previous_start": None}, r'expected \[start, end\] within \d+ characters in "previous"'),
    ],
)
def test_a_label_that_places_nothing_is_reported(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    labels, output = write_labels(tmp_path / "labels.jsonl", **changes), tmp_path / "rows.jsonl"

    assert hydrate(labels, write_clones(tmp_path), output).missing == 1
    assert read(output) == ROWS[1:]
    assert re.search(reason, missing(output)[0]["reason"])


def test_a_better_run_takes_the_report_of_the_last_one_away(tmp_path: Path) -> None:
    clones, labels, output = write_clones(tmp_path), write_labels(tmp_path / "labels.jsonl"), tmp_path / "rows.jsonl"

    assert hydrate(labels, clones[:1], output).missing == 1
    assert len(missing(output)) == 1
    assert hydrate(labels, clones, output).missing == 0
    assert not output.with_name(output.name + MISSING_SUFFIX).exists()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("none.jsonl", None, "none.jsonl: expected a readable label file, found"),
        ("empty.jsonl", b"\n", "empty.jsonl: expected labels, found an empty file"),
        ("plain.jsonl.gz", b"{}\n", "plain.jsonl.gz: expected a readable label file, found"),
        ("cut.jsonl.gz", gzip.compress(b"{}\n" * 99)[:-9], "cut.jsonl.gz: expected a readable label file, found"),
    ],
)
def test_an_unreadable_label_file_leaves_the_old_output_alone(
    tmp_path: Path, name: str, content: bytes | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    clones, output = write_clones(tmp_path / "clones"), tmp_path / "out/rows.jsonl"
    output.parent.mkdir()
    output.write_text("as before", encoding="utf-8")

    with pytest.raises(YaqinError, match=re.escape(reason)):
        hydrate(tmp_path / name, clones, output)
    assert output.read_text(encoding="utf-8") == "as before"
    assert list(output.parent.iterdir()) == [output]


def test_a_clone_must_be_a_folder_and_the_output_writable(tmp_path: Path) -> None:
    labels, clones = write_labels(tmp_path / "labels.jsonl"), write_clones(tmp_path)

    with pytest.raises(YaqinError, match="nowhere: expected a clone of a public collection, found nothing"):
        hydrate(labels, [tmp_path / "nowhere"], tmp_path / "rows.jsonl")
    with pytest.raises(YaqinError, match=r"labels\.jsonl: expected a clone of a public collection, found a file"):
        hydrate(labels, [labels], tmp_path / "rows.jsonl")
    with pytest.raises(YaqinError, match="expected a place to write, found"):
        hydrate(labels, clones, labels / "rows.jsonl")
    with pytest.raises(YaqinError, match="expected a place to write, found"):
        hydrate(labels, clones, tmp_path / "made-up")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.jsonl", "made-up"]


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("train", {"confirmed": 2372, "attributed": 4229, "hedged": 1427, "unverified": 1180, "none": 287}),
        ("more", {"confirmed": 3417, "attributed": 3475, "hedged": 1310, "unverified": 434, "none": 1372}),
        ("later", {"confirmed": 2472, "attributed": 1767, "hedged": 173, "unverified": 21, "none": 186}),
        ("rare", {"confirmed": 840, "attributed": 1232, "hedged": 1029, "unverified": 1088, "none": 388}),
        ("dev", {"confirmed": 476, "attributed": 677, "hedged": 101, "unverified": 80, "none": 173}),
    ],
)
def test_the_shipped_labels_are_complete_and_hold_no_words(name: str, counts: dict[str, int]) -> None:
    rows = read(SEEDS / f"news-{name}.labels.jsonl.gz")

    assert len({line["id"] for line in rows}) == len(rows)
    assert Counter(line["label"] for line in rows) == counts
    kept = set(ROWS[0]) - {"text", "previous"}
    for line in rows:
        assert set(line) <= kept
        assert all(value.isascii() for value in line.values() if isinstance(value, str))
        assert line["cue"] is None or 0 <= line["cue"][0] < line["cue"][1] <= line["end"] - line["start"]
        assert line["source"] is None or 0 <= line["source"][0] < line["source"][1] <= line["end"] - line["start"]


def test_shipped_training_and_development_labels_share_no_article() -> None:
    dev = {line["document"] for line in read(SEEDS / "news-dev.labels.jsonl.gz")}
    for name in TRAINING:
        assert not dev & {line["document"] for line in read(SEEDS / f"news-{name}.labels.jsonl.gz")}


def test_no_sentence_was_labelled_for_training_twice() -> None:
    hashes = [line["sha1"] for name in TRAINING for line in read(SEEDS / f"news-{name}.labels.jsonl.gz")]
    assert len(hashes) == len(set(hashes))


@pytest.mark.skipif(not SHARED, reason="YAQIN_SHARED does not say where the news text is")
@pytest.mark.parametrize("name", ["train", "dev"])
def test_the_shipped_labels_are_the_news_rows_without_their_text(tmp_path: Path, name: str) -> None:
    assert SHARED
    strip_text(read(Path(SHARED) / f"data/news-{name}.jsonl.gz"), tmp_path / "labels.jsonl.gz")
    # Unpacked: another zlib may pack the same bytes otherwise.
    assert read(tmp_path / "labels.jsonl.gz") == read(SEEDS / f"news-{name}.labels.jsonl.gz")
