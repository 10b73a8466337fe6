"""Records: every input record becomes an article or a rejection with its reason, and nothing else."""

import csv
import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from hashlib import blake2b
from pathlib import Path
from typing import Any

from yaqin.inference import readers
from yaqin.inference.compressed import BROKEN, STANDARD_INPUT
from yaqin.inference.errors import YaqinError
from yaqin.inference.readers import (
    KNOWN_FILES,
    Columns,
    Raw,
    Rejected,
    read_json_lines,
    reader_of,
)
from yaqin.inference.tagger import Article

_NO_ID = (None, "")
_USUAL = Columns()

_log = logging.getLogger(__name__)

Record = Article | Rejected


def find_inputs(paths: Iterable[str], *, output: Path | None = None) -> list[tuple[Path, str]]:
    """List the input files in a fixed order, each with the name its records carry.

    The name is the path relative to the argument, or the path as given where two files would share a name.

    Args:
        paths: Files, folders, or `-`.
        output: A folder that is written to: nothing in it is an input.

    Raises:
        YaqinError: A path is missing, a file has an unknown extension, a folder cannot be read or holds nothing
            that can.
    """
    found: list[tuple[Path, str]] = []
    for path in map(Path, paths):
        if str(path) == STANDARD_INPUT:
            found.append((path, "standard input"))
        elif path.is_dir():
            files = [file for file in _walk(path) if not (output and file.resolve().is_relative_to(output.resolve()))]
            inside = [file for file in files if reader_of(file)]
            if not inside:
                raise YaqinError(f"{path}: expected {KNOWN_FILES} in the folder, found none")
            if len(inside) < len(files):
                _log.warning("%s: %d files with other extensions were skipped", path, len(files) - len(inside))
            found += [(file, file.relative_to(path).as_posix()) for file in inside]
        elif not path.exists():
            raise YaqinError(f"{path}: expected a file or folder of articles, found nothing")
        elif not reader_of(path):
            raise YaqinError(f"{path}: expected {KNOWN_FILES}, found another extension")
        else:
            found.append((path, path.name))
    shared = {name for name, n in Counter(name for _, name in found).items() if n > 1}
    return [(path, path.as_posix() if name in shared else name) for path, name in found]


def _walk(folder: Path) -> list[Path]:
    """List the files under a folder, sorted; `Path.rglob` would pass over a folder that cannot be read."""

    def refuse(error: OSError) -> None:
        raise YaqinError(f"{error.filename}: expected a folder that can be read, found: {error.strerror}") from error

    return sorted(Path(parent, name) for parent, _, names in os.walk(folder, onerror=refuse) for name in names)


def read_records(
    inputs: Iterable[tuple[Path, str]],
    columns: Columns = _USUAL,
    *,
    sentences: bool = False,
    need_ids: bool = False,
    warn: bool = True,
) -> Iterator[Record]:
    """Read every record of the inputs, in order. An id seen before is rejected as a duplicate.

    Args:
        inputs: What `find_inputs` found.
        columns: Names of the fields.
        sentences: Records are single sentences and may carry `previous`.
        need_ids: Reject records without an id instead of numbering them.
        warn: Log at the end how many records had no id.

    Raises:
        YaqinError: A file cannot be opened, or a table has no column of text.
    """
    seen: set[bytes] = set()
    n_numbered = 0
    for path, name in inputs:
        reader = read_json_lines if str(path) == STANDARD_INPUT else reader_of(path)
        assert reader is not None
        try:
            for record in reader(path, name, columns):
                if isinstance(record, Raw) and record.fields.get("id") in _NO_ID:
                    n_numbered += 1
                    if need_ids:
                        record = record.rejected("expected an id, by which to tell whether the record is held already")
                yield _checked(record, seen, sentences)
        except BROKEN as error:
            yield Rejected(f"the compressed file is broken from here on: {error}", name, 0, b"")
        except (OSError, csv.Error) as error:
            found = getattr(error, "strerror", None) or error
            raise YaqinError(f"{path}: expected a readable file, found: {found}") from error
    if n_numbered and warn and not need_ids:
        _log.warning("%d records without an id were numbered file:line", n_numbered)


def _checked(record: Raw | Rejected, seen: set[bytes], sentences: bool) -> Record:
    if isinstance(record, Rejected):
        return record
    try:
        article = _article(record, sentences)
    except ValueError as error:
        return record.rejected(str(error))
    key = id_digest(article.id)
    if key in seen:
        return record.rejected(f"the id {article.id!r} was seen before in this run")
    seen.add(key)
    return article


def id_digest(article_id: str) -> bytes:
    """Stand in for an id in 16 bytes, so that the ids of millions of articles fit into memory."""
    return blake2b(article_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def rejection_digest(rejected: Mapping[str, Any]) -> bytes:
    """Stand in for a line of `rejected.jsonl`: the same record at the same place gives the same 16 bytes."""
    place = json.dumps([rejected[key] for key in ("file", "line", "raw_base64")])
    return blake2b(place.encode(), digest_size=16, person=b"rejected").digest()


def _article(raw: Raw, sentences: bool) -> Article:
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
    # Tables only come to this: lines are measured before they are parsed.
    if len(text) + len(title or "") > readers.MAX_RECORD_BYTES:
        raise ValueError(f"expected at most {readers.MAX_RECORD_BYTES} characters, found more")
    extra = dict(raw.extra)
    previous = extra.pop("previous", None) if sentences else None
    return Article(
        id=_id(fields.get("id"), raw),
        text=text,
        title=title,
        outlet=_scalar(extra.get("source") if fields.get("outlet") is None else fields["outlet"]),
        date=_scalar(fields.get("date")),
        previous=previous if isinstance(previous, str) else None,
        extra=extra,
    )


def _id(value: Any, raw: Raw) -> str:
    if value in _NO_ID:
        return f"{raw.file}:{raw.line}"
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f'expected a string or a whole number in "id", found {type(value).__name__}')
    return str(value)


def _scalar(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return value.isoformat() if isinstance(value, date) else str(value)
