"""Readers: every input record becomes an article or a rejection with its reason, and nothing else."""

import base64
import csv
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from hashlib import blake2b
from itertools import repeat
from pathlib import Path
from typing import Any

from yaqin.inference.compressed import BROKEN, STANDARD_INPUT, open_bytes
from yaqin.inference.errors import MissingExtraError, YaqinError
from yaqin.inference.tagger import Article

MAX_RECORD_BYTES = 4_000_000
"""A larger record is rejected: no article is that long, and memory stays bounded."""
_KEPT_BYTES = 64_000
"""So many raw bytes of a rejected record are kept."""
_NO_ID = (None, "")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Columns:
    """Names of the fields in the input."""

    text: str = "text"
    title: str = "title"
    id: str = "id"
    outlet: str = "outlet"
    date: str = "date"


@dataclass(frozen=True)
class Rejected:
    """A record that cannot be tagged: why, where it stands and its bytes."""

    reason: str
    file: str
    line: int
    raw: bytes

    def to_json(self) -> dict[str, Any]:
        """Give the line of `rejected.jsonl`."""
        kept = self.raw[:_KEPT_BYTES]
        return {
            "reason": self.reason,
            "file": self.file,
            "line": self.line,
            "raw_base64": base64.b64encode(kept).decode("ascii"),
            "raw_cut": len(kept) < len(self.raw),
        }


Record = Article | Rejected


def find_inputs(paths: Iterable[str]) -> list[tuple[Path, str]]:
    """List the input files in a fixed order, each with the name its records carry.

    Raises:
        YaqinError: A path is missing, a file has an unknown extension, or a folder holds nothing readable.
    """
    found: list[tuple[Path, str]] = []
    for path in map(Path, paths):
        if str(path) == STANDARD_INPUT:
            found.append((path, "standard input"))
        elif path.is_dir():
            files = sorted(p for p in path.rglob("*") if p.is_file())
            inside = [p for p in files if _reader(p)]
            if not inside:
                raise YaqinError(f"{path}: expected {_KNOWN} in the folder, found none")
            if len(inside) < len(files):
                _log.warning("%s: %d files with other extensions were skipped", path, len(files) - len(inside))
            found += [(p, p.relative_to(path).as_posix()) for p in inside]
        elif not path.exists():
            raise YaqinError(f"{path}: expected a file or folder of articles, found nothing")
        elif not _reader(path):
            raise YaqinError(f"{path}: expected {_KNOWN}, found another extension")
        else:
            found.append((path, path.name))
    return found


def read_records(
    inputs: Iterable[tuple[Path, str]], columns: Columns = Columns(), *, sentences: bool = False, warn: bool = True
) -> Iterator[Record]:
    """Read every record of the inputs, in order. An id seen before is rejected as a duplicate.

    Args:
        inputs: What `find_inputs` found.
        columns: Names of the fields.
        sentences: Records are single sentences and may carry `previous`.
        warn: Log at the end how many records had no id.

    Raises:
        YaqinError: A file cannot be opened, or a table has no column of text.
    """
    seen: set[bytes] = set()
    n_numbered = 0
    for path, name in inputs:
        reader = _read_json_lines if str(path) == STANDARD_INPUT else _reader(path)
        assert reader is not None
        try:
            for record in reader(path, name, columns):
                n_numbered += isinstance(record, _Raw) and record.fields.get("id") in _NO_ID
                yield _checked(record, seen, sentences)
        except BROKEN as error:
            yield Rejected(f"the compressed file is broken from here on: {error}", name, 0, b"")
        except (OSError, csv.Error) as error:
            found = getattr(error, "strerror", None) or error
            raise YaqinError(f"{path}: expected a readable file, found: {found}") from error
    if n_numbered and warn:
        _log.warning("%d records without an id were numbered file:line", n_numbered)


def _checked(record: "_Raw | Rejected", seen: set[bytes], sentences: bool) -> Record:
    if isinstance(record, Rejected):
        return record
    try:
        article = _article(record, sentences)
    except ValueError as error:
        return Rejected(str(error), record.file, record.line, record.raw())
    key = id_digest(article.id)
    if key in seen:
        return Rejected(f"the id {article.id!r} was seen before in this run", record.file, record.line, record.raw())
    seen.add(key)
    return article


def id_digest(article_id: str) -> bytes:
    """Stand in for an id in 16 bytes, so that the ids of millions of articles fit into memory."""
    return blake2b(article_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@dataclass(frozen=True)
class _Raw:
    """The fields of a record under our names, before they are checked."""

    fields: Mapping[str, Any]
    extra: Mapping[str, Any]
    file: str
    line: int
    source: bytes | None = None

    def raw(self) -> bytes:
        """Give the record's bytes, written anew where the file is a table."""
        if self.source is not None:
            return self.source
        return json.dumps({**self.fields, **self.extra}, default=str).encode()


def _article(raw: _Raw, sentences: bool) -> Article:
    """Check the fields of a record.

    Raises:
        ValueError: The reason why it is rejected.
    """
    fields = raw.fields
    text, title = fields.get("text"), fields.get("title")
    if not isinstance(text, str):
        found = "nothing" if "text" not in fields else "null" if text is None else type(text).__name__
        raise ValueError(f'expected a string in "text", found {found}')
    if title is not None and not isinstance(title, str):
        raise ValueError(f'expected a string in "title", found {type(title).__name__}')
    if not text.strip() and (sentences or not (title or "").strip()):
        raise ValueError("expected text or a title, found white space")
    if len(text) + len(title or "") > MAX_RECORD_BYTES:  # in a table only: lines are measured before they are parsed
        raise ValueError(f"expected at most {MAX_RECORD_BYTES} characters, found more")
    extra = dict(raw.extra)
    previous = extra.pop("previous", None) if sentences else None
    return Article(
        id=_id(fields.get("id"), raw),
        text=text,
        title=title,
        outlet=_scalar(fields.get("outlet", extra.get("source"))),
        date=_scalar(fields.get("date")),
        previous=previous if isinstance(previous, str) else None,
        extra=extra,
    )


def _id(value: Any, raw: _Raw) -> str:
    if value in _NO_ID:
        return f"{raw.file}:{raw.line}"
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f'expected a string or a whole number in "id", found {type(value).__name__}')
    return str(value)


def _scalar(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return value.isoformat() if isinstance(value, date) else str(value)


def _named(content: Mapping[str, Any], columns: Columns, file: str, line: int, source: bytes | None = None) -> _Raw:
    """Sort the fields of a record into ours and the rest."""
    names = vars(columns)
    fields = {ours: content[theirs] for ours, theirs in names.items() if theirs in content}
    extra = {key: value for key, value in content.items() if key not in names.values()}
    return _Raw(fields, extra, file, line, source)


def _read_json_lines(path: Path, name: str, columns: Columns) -> Iterator[_Raw | Rejected]:
    with open_bytes(path) as file:
        number = 0
        while line := file.readline(MAX_RECORD_BYTES + 1):
            number += 1
            if len(line) > MAX_RECORD_BYTES and not line.endswith(b"\n"):
                while (rest := file.readline(MAX_RECORD_BYTES)) and not rest.endswith(b"\n"):
                    pass
                yield Rejected(f"expected at most {MAX_RECORD_BYTES} bytes, found more", name, number, line)
            elif line.strip():
                yield _parse_json(line, name, number, columns)


def _parse_json(line: bytes, name: str, number: int, columns: Columns) -> _Raw | Rejected:
    try:
        content = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return Rejected(f"expected UTF-8, found byte 0x{line[error.start]:02x} at {error.start}", name, number, line)
    except (ValueError, RecursionError) as error:
        return Rejected(f"expected JSON, found: {error}", name, number, line)
    if not isinstance(content, dict):
        return Rejected(f"expected a JSON object, found {type(content).__name__}", name, number, line)
    return _named(content, columns, name, number, line)


def _read_text(path: Path, name: str, columns: Columns) -> Iterator[_Raw | Rejected]:
    """Read a `.txt` article: the first line is the title, all that follows the first line break the text."""
    with path.open("rb") as file:
        content = file.read(MAX_RECORD_BYTES + 1)
    if len(content) > MAX_RECORD_BYTES:
        yield Rejected(f"expected at most {MAX_RECORD_BYTES} bytes, found more", name, 1, content)
        return
    try:
        decoded = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        yield Rejected(f"expected UTF-8, found byte 0x{content[error.start]:02x} at {error.start}", name, 1, content)
        return
    title, _, text = decoded.partition("\n")
    yield _Raw({"id": name, "title": title.removesuffix("\r"), "text": text}, {}, name, 1, content)


def _read_csv(path: Path, name: str, columns: Columns) -> Iterator[_Raw | Rejected]:
    csv.field_size_limit(MAX_RECORD_BYTES)
    # Bytes that are no UTF-8 become lone surrogates, by which the row is known and given back unharmed.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        lines: list[str] = []  # those of the row that is read

        def remembered() -> Iterator[str]:
            for line in file:
                lines.append(line)
                yield line

        def raw() -> bytes:
            return "".join(lines).encode("utf-8", "surrogateescape")

        rows = csv.DictReader(remembered(), strict=True)  # strict: an open quote must not swallow rows in silence
        _need_text(rows.fieldnames or [], columns, path)
        while True:
            lines.clear()
            try:
                row = next(rows, None)
            except csv.Error as error:
                yield Rejected(f"expected a CSV row, found: {error}", name, rows.reader.line_num, raw())
                continue
            if row is None:
                return
            if None in row:
                yield Rejected("expected as many cells as the header has, found more", name, rows.line_num, raw())
            elif any("\udc80" <= c <= "\udcff" for value in row.values() for c in value or ""):
                yield Rejected("expected UTF-8, found other bytes", name, rows.line_num, raw())
            else:
                yield _named(row, columns, name, rows.line_num, raw())


def _read_parquet(path: Path, name: str, columns: Columns) -> Iterator[_Raw | Rejected]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError(f"{path}: Parquet", "parquet") from error
    try:
        file = parquet.ParquetFile(path)
        _need_text(file.schema_arrow.names, columns, path)
        number = 0
        for batch in file.iter_batches(batch_size=256):
            for row in map(batch.slice, range(len(batch)), repeat(1)):
                number += 1
                try:
                    yield _named(row.to_pylist()[0], columns, name, number)
                except UnicodeDecodeError as error:
                    yield Rejected(f"expected UTF-8, found other bytes: {error}", name, number, error.object)
    except pyarrow.ArrowException as error:
        raise YaqinError(f"{path}: expected Parquet, found a broken file: {error}") from error


def _need_text(names: Iterable[str], columns: Columns, path: Path) -> None:
    if columns.text not in names:
        found = ", ".join(names) or "none"
        raise YaqinError(f"{path}: expected a column {columns.text!r}, found {found}: name it with --text-column")


_READERS = {
    ".txt": _read_text,
    ".jsonl": _read_json_lines,
    ".jsonl.gz": _read_json_lines,
    ".jsonl.zst": _read_json_lines,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
_KNOWN = "files of " + ", ".join(_READERS)


def _reader(path: Path) -> Any:
    return next((reader for ending, reader in _READERS.items() if path.name.endswith(ending)), None)
