"""Readers: from the bytes of a file to raw records, each with its place, whatever the format."""

import base64
import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

from yaqin.inference.compressed import open_bytes
from yaqin.inference.errors import MissingExtraError, YaqinError

MAX_RECORD_BYTES = 4_000_000
"""A larger record is rejected: no article is that long, and memory stays bounded."""
_KEPT_BYTES = 64_000
"""So many raw bytes of a rejected record are kept."""


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


@dataclass(frozen=True)
class Raw:
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

    def rejected(self, reason: str) -> Rejected:
        """Reject the record."""
        return Rejected(reason, self.file, self.line, self.raw())


def _named(content: Mapping[str, Any], columns: Columns, file: str, line: int, source: bytes | None = None) -> Raw:
    """Sort the fields of a record into ours and the rest."""
    names = vars(columns)
    fields = {ours: content[theirs] for ours, theirs in names.items() if theirs in content}
    extra = {key: value for key, value in content.items() if key not in names.values()}
    return Raw(fields, extra, file, line, source)


def read_json_lines(path: Path, name: str, columns: Columns) -> Iterator[Raw | Rejected]:
    """Read JSON lines, compressed or not, or standard input."""
    with open_bytes(path) as file:
        number = 0
        while line := file.readline(MAX_RECORD_BYTES + 1):
            number += 1
            if len(line) > MAX_RECORD_BYTES and not line.endswith(b"\n"):
                while (rest := file.readline(MAX_RECORD_BYTES)) and not rest.endswith(b"\n"):
                    pass
                line = line[: _KEPT_BYTES + 1]  # many such lines must not pile up in memory
                yield Rejected(f"expected at most {MAX_RECORD_BYTES} bytes, found more", name, number, line)
            elif line.strip():
                yield _parse_json(line, name, number, columns)


def _parse_json(line: bytes, name: str, number: int, columns: Columns) -> Raw | Rejected:
    try:
        content = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return Rejected(f"expected UTF-8, found byte 0x{line[error.start]:02x} at {error.start}", name, number, line)
    except (ValueError, RecursionError) as error:
        return Rejected(f"expected JSON, found: {error}", name, number, line)
    if not isinstance(content, dict):
        return Rejected(f"expected a JSON object, found {type(content).__name__}", name, number, line)
    return _named(content, columns, name, number, line)


def _read_text(path: Path, name: str, columns: Columns) -> Iterator[Raw | Rejected]:
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
    yield Raw({"id": name, "title": title.removesuffix("\r"), "text": text}, {}, name, 1, content)


def _read_csv(path: Path, name: str, columns: Columns) -> Iterator[Raw | Rejected]:
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
            elif None in row.values():
                yield Rejected("expected as many cells as the header has, found fewer", name, rows.line_num, raw())
            elif any("\udc80" <= c <= "\udcff" for value in row.values() for c in value or ""):
                yield Rejected("expected UTF-8, found other bytes", name, rows.line_num, raw())
            else:
                yield _named(row, columns, name, rows.line_num, raw())


def _read_parquet(path: Path, name: str, columns: Columns) -> Iterator[Raw | Rejected]:
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


Reader = Callable[[Path, str, Columns], Iterator[Raw | Rejected]]
_READERS: dict[str, Reader] = {
    ".txt": _read_text,
    ".jsonl": read_json_lines,
    ".jsonl.gz": read_json_lines,
    ".jsonl.zst": read_json_lines,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
KNOWN_FILES = "files of " + ", ".join(_READERS)


def reader_of(path: Path) -> Reader | None:
    """Give the reader for a file by its extension, None where there is none."""
    return next((reader for ending, reader in _READERS.items() if path.name.endswith(ending)), None)
