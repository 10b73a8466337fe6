"""A tagged sentence has the fields of the design in every format, and no cell harms who opens it."""

import csv
import json
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from yaqin.inference.checkpoint import LABELS
from yaqin.inference.errors import MissingExtraError
from yaqin.inference.tagger import TaggedSentence
from yaqin.inference.writers import flat, need_format, to_line, to_record, write_sentences

FIELDS = [
    *("article_id", "sentence_index", "outlet", "date", "field", "start", "end", "text", "tag", "probabilities"),
    *("claim_probability", "uncertain", "truncated", "evidence", "stage"),
]
TEXT = "أعلن المصرف رفع الفائدة."


def sentence(text: str = TEXT, **changes: Any) -> TaggedSentence:
    values = {
        "tag": "confirmed",
        "probabilities": dict(zip(LABELS, (0.7, 0.1, 0.15, 0.05), strict=True)),
        "claim_probability": 0.98765432,
        "uncertain": False,
        "truncated": True,
        "article_id": "a",
        "sentence_index": 3,
        "start": 5,
        "end": 5 + len(text),
        "text": text,
    }
    return TaggedSentence(**values | changes)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_record_has_the_fields_of_the_design_in_their_order() -> None:
    assert list(to_record(sentence())) == FIELDS


def test_a_line_is_one_line_of_json_that_gives_the_record_back(hostile: str) -> None:
    record = to_record(sentence(hostile, article_id=hostile))
    line = to_line(record)
    assert line.endswith("}\n")
    assert line.count("\n") == 1
    assert json.loads(line.encode("utf-8")) == record


def test_arabic_stands_readable_in_a_line() -> None:
    assert TEXT in to_line(to_record(sentence()))


def test_values_that_json_lacks_are_written_as_text() -> None:
    assert json.loads(to_line({"published": date(2024, 1, 2)})) == {"published": "2024-01-02"}


def test_a_table_flattens_probabilities_and_evidence() -> None:
    evidence = {"type": "cue", "start": 5, "end": 9, "text": "أعلن", "signal": "confirmed", "kind": None}
    row = flat(to_record(sentence(evidence=(evidence,))))
    assert [row[f"p_{label}"] for label in LABELS] == [0.7, 0.1, 0.15, 0.05]
    assert json.loads(row["evidence"]) == [evidence]
    assert "probabilities" not in row


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("قبل\ud800بعد", "قبل\ufffdبعد"),
        ("\udfff", "\ufffd"),
        ("آخر \ud83d", "آخر \ufffd"),
        ("\ufeffعلامة 😀", "\ufeffعلامة 😀"),
    ],
)
def test_lone_surrogates_become_replacement_characters_in_tables(tmp_path: Path, text: str, mended: str) -> None:
    write_sentences(tmp_path / "a.csv", [sentence(text, article_id=text)], "csv")
    (row,) = read_csv(tmp_path / "a.csv")
    assert (row["text"], row["article_id"]) == (mended, mended)
    pytest.importorskip("pyarrow")
    from pyarrow import parquet

    write_sentences(tmp_path / "a.parquet", [sentence(text)], "parquet")
    assert parquet.read_table(tmp_path / "a.parquet")["text"].to_pylist() == [mended]


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "=cmd|' /C calc'!A0"])
def test_a_cell_that_a_spreadsheet_would_execute_gets_an_apostrophe(tmp_path: Path, cell: str) -> None:
    given = sentence(cell, article_id=cell, outlet=cell, date=cell)
    write_sentences(tmp_path / "a.csv", [given, sentence(outlet="a=b", date="2024-01-01")], "csv")
    first, second = read_csv(tmp_path / "a.csv")
    assert {first[name] for name in ("text", "article_id", "outlet", "date")} == {f"'{cell}"}
    assert (second["outlet"], second["date"]) == ("a=b", "2024-01-01")


@pytest.mark.parametrize("text", ["سطر\rسطر", "سطر\nسطر", "سطر\r\nسطر", 'قال "نعم", ثم', "a\x00b", "a\u2028b\x85c"])
def test_a_cell_comes_back_from_csv_as_it_was(tmp_path: Path, text: str) -> None:
    assert write_sentences(tmp_path / "a.csv", [sentence(text), sentence()], "csv") == 2
    assert [row["text"] for row in read_csv(tmp_path / "a.csv")] == [text, TEXT]


def test_the_columns_of_a_table_stand_there_without_sentences_too(tmp_path: Path) -> None:
    columns = [c for name in FIELDS for c in ([f"p_{x}" for x in LABELS] if name == "probabilities" else [name])]
    write_sentences(tmp_path / "a.csv", [], "csv")
    assert (tmp_path / "a.csv").read_text().strip().split(",") == columns
    pytest.importorskip("pyarrow")
    from pyarrow import parquet

    write_sentences(tmp_path / "a.parquet", [], "parquet")
    assert parquet.read_table(tmp_path / "a.parquet").column_names == columns


def test_parquet_keeps_types_and_nulls(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from pyarrow import parquet

    write_sentences(tmp_path / "a.parquet", [sentence(tag=None, outlet="=o")], "parquet")
    (row,) = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    expected = {"tag": None, "outlet": "=o", "start": 5, "p_confirmed": 0.7, "truncated": True, "evidence": "[]"}
    assert {name: row[name] for name in expected} == expected


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"--format parquet needs the extra 'parquet'"):
        need_format("parquet")
