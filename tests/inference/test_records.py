"""Every record of the input becomes one article or one rejection that says why, where and what it was."""

import base64
import csv
import gzip
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yaqin.inference import readers
from yaqin.inference.compressed import zstd
from yaqin.inference.errors import MissingExtraError, YaqinError
from yaqin.inference.readers import Columns, Rejected
from yaqin.inference.records import Record, find_inputs, read_records
from yaqin.inference.tagger import Article

TEXT = "قال رئيس البلدية إن السوق ستفتح غدا."
GOOD = json.dumps({"id": "good", "text": TEXT}).encode()
Read = Callable[..., list[Record]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Write a file and read its records."""

    def write_and_read(content: bytes, name: str = "a.jsonl", **options: Any) -> list[Record]:
        path = tmp_path / name
        path.write_bytes(content)
        return list(read_records(find_inputs([str(path)]), **options))

    return write_and_read


def ids(found: Sequence[Record]) -> list[str]:
    """Give the ids of articles; a rejection stands as its reason."""
    return [record.reason if isinstance(record, Rejected) else record.id for record in found]


def only(found: Sequence[Record], kind: type) -> Any:
    (record,) = found
    assert isinstance(record, kind), record
    return record


def csv_bytes(rows: list[list[str]]) -> bytes:
    file = io.StringIO()
    csv.writer(file).writerows(rows)
    return file.getvalue().encode()


# The table 'Records in' of the design, record by record.


def test_a_blank_line_is_no_record(read: Read) -> None:
    assert ids(read(b"\n \t\r\n" + GOOD + b"\n\n\x0b\n")) == ["good"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"[1]", "expected a JSON object, found list"),
        (b'"\xd9\x86\xd8\xb5"', "expected a JSON object, found str"),
        (b"null", "expected a JSON object, found NoneType"),
        (b'{"id": 1, "text": ""}', "expected text or a title, found white space"),
        (b'{"id": 1, "text": " \\u00a0\\n\\t", "title": " "}', "expected text or a title, found white space"),
        (b'{"id": 1}', 'expected a string in "text", found nothing'),
        (b'{"id": 1, "text": null, "title": "t"}', 'expected a string in "text", found null'),
        (b'{"id": 1, "text": 5}', 'expected a string in "text", found int'),
        (b'{"id": 1, "text": ["a"]}', 'expected a string in "text", found list'),
        (b'{"id": 1, "text": "a", "title": 5}', 'expected a string in "title", found int'),
        (b'{"id": 1.5, "text": "a"}', 'expected a string or a whole number in "id", found float'),
        (b'{"id": true, "text": "a"}', 'expected a string or a whole number in "id", found bool'),
        (b'{"id": [], "text": "a"}', 'expected a string or a whole number in "id", found list'),
        (b'{"id": 1, "text": "a"', "expected JSON, found:"),
        (b"{'id': 1}", "expected JSON, found:"),
        (b'{"text": ' + b"9" * 5000 + b"}", "expected JSON, found:"),
        (b'{"text": ' + b"[" * 100_000, "expected JSON, found:"),
        (b'{"text": "\xff"}', "expected UTF-8, found byte 0xff at 10"),
        ('{"text": "نص"}'.encode("cp1256"), "expected UTF-8, found byte"),
        ('{"text": "نص"}'.encode("utf-16-le"), "expected"),
    ],
)
def test_a_record_that_cannot_be_tagged_is_rejected_with_its_reason_place_and_bytes(
    read: Read, line: bytes, reason: str
) -> None:
    first, rejected, last = read(b'{"id": "before", "text": "a"}\n' + line + b"\n" + GOOD)
    assert ids([first, last]) == ["before", "good"]
    assert isinstance(rejected, Rejected)
    assert rejected.reason.startswith(reason)
    row = rejected.to_json()
    assert (row["file"], row["line"]) == ("a.jsonl", 2)
    assert line.startswith(base64.b64decode(row["raw_base64"]).rstrip(b"\n"))
    assert row["raw_cut"] is (len(line) > 64_000)


def test_a_record_at_the_cap_is_read_and_a_larger_one_rejected(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "MAX_RECORD_BYTES", 100)

    def line(size: int) -> bytes:
        content = b'{"id": "%05d", "text": "' % size
        return content + b"a" * (size - len(content) - 2) + b'"}'

    found = read(b"\n".join([line(100), line(101), line(202), line(350), line(99), line(101)]))
    too_large = "expected at most 100 bytes, found more"
    assert ids(found) == ["00100", too_large, too_large, too_large, "00099", too_large]
    assert [r.line for r in found if isinstance(r, Rejected)] == [2, 3, 4, 6]


def test_of_a_large_rejected_record_a_part_is_kept_and_marked_as_cut() -> None:
    row = Rejected("too large", "a.jsonl", 1, b"x" * 100_000).to_json()
    assert (len(base64.b64decode(row["raw_base64"])), row["raw_cut"]) == (64_000, True)


@pytest.mark.parametrize("name", ["a.txt", "a.csv"])
def test_the_cap_holds_in_every_format(read: Read, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(readers, "MAX_RECORD_BYTES", 100)
    assert "found" in only(read(b"text\n" + b"a" * 101, name), Rejected).reason


def test_a_record_without_an_id_is_numbered_and_a_warning_counts_them(
    read: Read, caplog: pytest.LogCaptureFixture
) -> None:
    found = read(b'{"text": "a"}\n\n{"id": null, "text": "b"}\n{"id": "", "text": "c"}\n{"id": 0, "text": "d"}')
    assert ids(found) == ["a.jsonl:1", "a.jsonl:3", "a.jsonl:4", "0"]
    assert caplog.messages == ["3 records without an id were numbered file:line"]


def test_where_all_have_ids_nothing_is_warned_of(read: Read, caplog: pytest.LogCaptureFixture) -> None:
    read(GOOD)
    assert not caplog.messages


def test_an_id_seen_before_is_rejected_also_across_files(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": 7, "text": "a"}\n{"id": "7", "text": "b"}\n')
    (tmp_path / "b.jsonl").write_text('{"id": "7", "text": "c"}\n{"id": "8", "text": "d"}\n')
    duplicate = "the id '7' was seen before in this run"
    assert ids(list(read_records(find_inputs([str(tmp_path)])))) == ["7", duplicate, duplicate, "8"]


def test_the_id_of_a_rejected_record_is_still_free(read: Read) -> None:
    assert ids(read(b'{"id": "1", "text": ""}\n{"id": "1", "text": "a"}'))[1] == "1"


def test_a_title_alone_is_an_article(read: Read) -> None:
    article = only(read('{"id": 1, "text": "", "title": "عنوان"}'.encode()), Article)
    assert (article.title, article.text) == ("عنوان", "")


def test_a_title_is_no_sentence(read: Read) -> None:
    assert ids(read(b'{"id": 1, "text": "", "title": "t"}', sentences=True)) == [
        "expected text or a title, found white space"
    ]


def test_hostile_characters_arrive_as_they_are(read: Read, hostile: str) -> None:
    assert only(read(json.dumps({"id": hostile[:9], "text": hostile}).encode()), Article).text == hostile


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=30) | st.sampled_from([GOOD, b'{"text": "a"}', b"{}", b" "]), max_size=12))
def test_records_in_are_articles_and_rejections(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    content = b"\n".join(lines)
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(content)
    n_records = sum(1 for line in content.split(b"\n") if line.strip())
    assert len(list(read_records([(path, "any.jsonl")]))) == n_records


# Fields.


def test_fields_are_found_under_other_names_and_the_rest_passes_through(read: Read) -> None:
    line = json.dumps({"uid": 4, "body": TEXT, "head": "عنوان", "paper": "صحيفة", "day": "2024-01-01", "url": ["u"]})
    article = only(read(line.encode(), columns=Columns("body", "head", "uid", "paper", "day")), Article)
    assert article == Article("4", TEXT, "عنوان", "صحيفة", "2024-01-01", extra={"url": ["u"]})


def test_source_stands_in_for_outlet(read: Read) -> None:
    article = only(read(b'{"id": 1, "text": "a", "source": "s"}'), Article)
    assert (article.outlet, article.extra) == ("s", {"source": "s"})
    assert only(read(b'{"id": 1, "text": "a", "source": "s", "outlet": null}'), Article).outlet == "s"


def test_previous_is_read_with_sentences_only(read: Read) -> None:
    line = b'{"id": 1, "text": "a", "previous": "p"}'
    assert only(read(line, sentences=True), Article).previous == "p"
    article = only(read(line), Article)
    assert (article.previous, article.extra) == (None, {"previous": "p"})


# Formats.

ROWS = [("1", "عنوان أول", "خبر «أول»،\nفي سطرين."), ("2", "", TEXT), ("3", "=1+1", '"quoted", and\r\nbroken')]


def as_json_lines() -> bytes:
    return b"".join(json.dumps(dict(zip(("id", "title", "text"), row, strict=True))).encode() + b"\n" for row in ROWS)


def write_parquet(path: Path, columns: dict[str, Any]) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), path)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.csv", "-"])
def test_every_format_gives_the_same_articles(read: Read, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {
        "a.jsonl.gz": gzip.compress,
        "a.jsonl.zst": zstd.compress,
        "a.csv": lambda _: csv_bytes([["id", "title", "text"], *map(list, ROWS)]),
    }.get(name, bytes)(as_json_lines())
    if name == "-":
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        found = list(read_records(find_inputs(["-"])))
    else:
        found = read(content, name)
    assert found == [Article(id_, text, title) for id_, title, text in ROWS]


def test_parquet_gives_the_same_articles(tmp_path: Path) -> None:
    ids_, titles, texts = zip(*ROWS, strict=True)
    path = write_parquet(tmp_path / "a.parquet", {"id": ids_, "title": titles, "text": texts})
    assert list(read_records([(path, path.name)])) == [Article(id_, text, title) for id_, title, text in ROWS]


def test_a_byte_order_mark_is_no_part_of_the_text(read: Read) -> None:
    for name, content in (("a.jsonl", GOOD), ("a.csv", b"id,text\ngood," + TEXT.encode()), ("a.txt", TEXT.encode())):
        article = only(read(b"\xef\xbb\xbf" + content, name), Article)
        assert TEXT in (article.text, article.title)


@pytest.mark.parametrize(("line_break", "text"), [("\n", "سطر\r\nآخر\n"), ("\r\n", "سطر\r\nآخر\n")])
def test_the_first_line_of_a_text_file_is_its_title(read: Read, line_break: str, text: str) -> None:
    article = only(read(f"عنوان {line_break}{text}".encode(), "a.txt"), Article)
    assert (article.id, article.title, article.text) == ("a.txt", "عنوان ", text)


def test_a_text_file_with_one_line_is_a_title_alone(read: Read) -> None:
    assert only(read(TEXT.encode(), "a.txt"), Article).title == TEXT


def test_a_text_file_that_is_empty_or_no_utf8_is_rejected(read: Read) -> None:
    assert only(read(b"\n \n", "a.txt"), Rejected).reason == "expected text or a title, found white space"
    assert only(read(b"", "a.txt"), Rejected).raw == b""
    assert only(read("عنوان".encode("cp1256"), "a.txt"), Rejected).reason.startswith("expected UTF-8, found byte 0xda")


def test_an_id_of_a_text_file_is_its_path_relative_to_the_argument(tmp_path: Path) -> None:
    for name in ("b/2.txt", "b/1.txt", "a.txt", ".git/3.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"خبر {name}", encoding="utf-8")
    assert ids(list(read_records(find_inputs([str(tmp_path)])))) == [".git/3.txt", "a.txt", "b/1.txt", "b/2.txt"]
    assert ids(list(read_records(find_inputs([str(tmp_path / "b" / "2.txt")])))) == ["2.txt"]


# Files that are missing, foreign or broken.


def test_files_that_would_share_a_name_are_named_by_their_paths(tmp_path: Path) -> None:
    for year in ("2023", "2024"):
        (tmp_path / year).mkdir()
        (tmp_path / year / "news.jsonl").write_bytes(b'{"text": "a"}')
    found = find_inputs([str(tmp_path / year) for year in ("2023", "2024")])
    assert ids(list(read_records(found))) == [f"{tmp_path}/{year}/news.jsonl:1" for year in ("2023", "2024")]


def test_what_lies_in_the_output_folder_is_no_input(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(GOOD)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "tagged.jsonl").write_bytes(GOOD)
    assert [name for _, name in find_inputs([str(tmp_path)], output=tmp_path / "out")] == ["a.jsonl"]


def test_a_folder_that_cannot_be_read_is_a_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.jsonl").write_bytes(GOOD)
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(YaqinError, match="closed: expected a folder that can be read, found: Permission denied"):
        find_inputs([str(tmp_path)])


def test_a_missing_path_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(YaqinError, match=r"nowhere\.jsonl: expected a file or folder of articles, found nothing"):
        find_inputs([str(tmp_path / "nowhere.jsonl")])


@pytest.mark.parametrize("name", ["a.docx", "a.json", "a.txt.gz", "jsonl"])
def test_an_unknown_extension_is_a_mistake(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(YaqinError, match=r"expected files of \.txt, \.jsonl, .*\.parquet, found another extension"):
        find_inputs([str(tmp_path / name)])


def test_a_folder_without_articles_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "a.docx").touch()
    with pytest.raises(YaqinError, match=r"expected files of .* in the folder, found none"):
        find_inputs([str(tmp_path)])


def test_skipped_files_of_a_folder_are_counted_in_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.txt", "b.docx", "c.md"):
        (tmp_path / name).write_text("خبر", encoding="utf-8")
    assert [name for _, name in find_inputs([str(tmp_path)])] == ["a.txt"]
    assert caplog.messages == [f"{tmp_path}: 2 files with other extensions were skipped"]


def test_a_file_that_cannot_be_opened_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(YaqinError, match=r"gone\.jsonl: expected a readable file, found: No such file"):
        list(read_records([(tmp_path / "gone.jsonl", "gone.jsonl")]))


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_an_empty_file_holds_no_record(read: Read, name: str) -> None:
    assert read(b"", name) == []


def test_an_empty_zstd_file_lacks_even_its_frame_and_is_broken(read: Read) -> None:
    assert only(read(b"", "a.jsonl.zst"), Rejected).reason.startswith("the compressed file is broken")


def many_lines() -> bytes:
    return b"".join(b'{"id": "%d", "text": "%x"}\n' % (i, i**9) for i in range(12_000))


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst"])
@pytest.mark.parametrize("share", [0.001, 0.5, 0.9, 0.9999])
def test_a_compressed_file_that_is_cut_off_gives_what_it_holds_and_one_rejection(
    read: Read, name: str, share: float
) -> None:
    compress = gzip.compress if name.endswith("gz") else zstd.compress
    whole = compress(many_lines())
    *before, last = read(whole[: int(len(whole) * share)], name)
    assert only([last], Rejected).reason.startswith("the compressed file is broken from here on: ")
    assert ids(before) == [str(i) for i in range(len(before))]
    assert len(before) > 1000 or share < 0.5


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst"])
def test_a_compressed_file_of_other_bytes_is_one_rejection_and_later_files_are_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no archive at all, only words")
    (tmp_path / "b.jsonl").write_bytes(GOOD)
    broken, good = ids(list(read_records(find_inputs([str(tmp_path)]))))
    assert broken.startswith("the compressed file is broken from here on: ")
    assert good == "good"


def test_a_gzip_with_a_wrong_checksum_is_noticed(read: Read) -> None:
    whole = bytearray(gzip.compress(GOOD + b"\n"))
    whole[-8] ^= 1
    assert [type(record) for record in read(bytes(whole), "a.jsonl.gz")] == [Article, Rejected]


def test_frames_that_follow_each_other_are_read_to_the_last(read: Read) -> None:
    for name, compress in (("a.jsonl.gz", gzip.compress), ("a.jsonl.zst", zstd.compress)):
        content = b"".join(compress(b'{"id": "%d", "text": "a"}\n' % i) for i in range(40))
        assert ids(read(content, name)) == [str(i) for i in range(40)]


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_a_table_without_a_column_of_text_is_a_mistake(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("csv"):
        path.write_bytes(csv_bytes([["id", "body"], ["1", TEXT]]))
    else:
        write_parquet(path, {"id": ["1"], "body": [TEXT]})
    with pytest.raises(YaqinError, match=r"expected a column 'text', found id, body: name it with --text-column"):
        list(read_records([(path, name)]))
    assert ids(list(read_records([(path, name)], Columns(text="body")))) == ["1"]


def test_an_empty_csv_file_is_a_mistake(read: Read) -> None:
    with pytest.raises(YaqinError, match="expected a column 'text', found none"):
        read(b"", "a.csv")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("2,نص,زائد\r\n".encode(), "expected as many cells as the header has, found more"),
        (b"2,\xc7\xd1\r\n", "expected UTF-8, found other bytes"),
        ('2,"قال" فلان\r\n'.encode(), "expected a CSV row, found: "),
        (b"2\r\n", "expected as many cells as the header has, found fewer"),
        (b"2,\r\n", "expected text or a title, found white space"),
    ],
)
def test_a_bad_row_of_a_csv_file_is_rejected_with_its_bytes(read: Read, row: bytes, reason: str) -> None:
    first, rejected, last = read(b"id,text\r\n1,a\r\n" + row + b"3,b\r\n", "a.csv")
    assert ids([first, last]) == ["1", "3"]
    assert isinstance(rejected, Rejected)
    assert rejected.reason.startswith(reason)
    assert (rejected.line, rejected.raw) == (3, row)


def test_a_quote_that_never_closes_swallows_no_row_in_silence(read: Read) -> None:
    content = b'id,text\n1,a\n2,"b\n3,c\n'
    first, rejected = read(content, "a.csv")
    assert ids([first]) == ["1"]
    assert only([rejected], Rejected).raw == b'2,"b\n3,c\n'


def test_a_row_that_a_cut_off_csv_file_ends_in_is_rejected(read: Read) -> None:
    first, last = read(b'text,id,date\n"a",1,2020\nhalf a sen', "a.csv")
    assert only([first], Article).id == "1"
    assert only([last], Rejected).reason == "expected as many cells as the header has, found fewer"


def test_blank_rows_of_a_csv_file_are_no_records(read: Read) -> None:
    assert ids(read(b"id,text\n\n1,a\n\n\n2,b\n", "a.csv")) == ["1", "2"]


def test_parquet_values_of_other_types_are_read_or_rejected(tmp_path: Path) -> None:
    columns = {"id": [1, 2, None], "text": ["a", None, "c"], "date": [date(2024, 1, 2)] * 3, "n": [0.5, 1.5, 2.5]}
    path = write_parquet(tmp_path / "a.parquet", columns)
    first, rejected, last = read_records([(path, "a.parquet")])
    assert first == Article("1", "a", date="2024-01-02", extra={"n": 0.5})
    assert only([rejected], Rejected).reason == 'expected a string in "text", found null'
    assert ids([last]) == ["a.parquet:3"]


def test_parquet_text_that_is_no_utf8_is_one_rejection(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    raw = pyarrow.array([b"a", b"\xff\xfe", b"c"], pyarrow.binary())
    text = pyarrow.Array.from_buffers(pyarrow.string(), 3, raw.buffers())
    path = write_parquet(tmp_path / "a.parquet", {"id": ["1", "2", "3"], "text": text})
    first, rejected, last = read_records([(path, "a.parquet")])
    assert ids([first, last]) == ["1", "3"]
    assert (rejected.line, rejected.raw) == (2, b"\xff\xfe")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_broken_parquet_is_a_mistake(tmp_path: Path, share: float) -> None:
    path = write_parquet(tmp_path / "a.parquet", {"text": [TEXT] * 100})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(YaqinError, match=r"a\.parquet: expected Parquet, found a broken file"):
        list(read_records([(path, "a.parquet")]))


def test_without_pyarrow_the_extra_is_named(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'yaqin\[parquet\]'"):
        read(b"PAR1", "a.parquet")
