"""Labels without text: the news sentences stay with their publishers, the labels travel alone.

A label file says where each sentence stands (collection, document, offsets) and the hash of its characters.
`hydrate` cuts the sentences out of clones of the public collections; `strip_text` is its inverse.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yaqin.inference.compressed import numbered_lines, written_whole
from yaqin.inference.errors import YaqinError

MISSING_SUFFIX = ".missing.jsonl"
"""Added to the name of the output: the rows that could not be rebuilt, and why."""

_FIELDS = (
    "id", "collection", "document", "outlet", "kind", "text", "previous", "label", "cue", "source", "confidence",
    "sampling", "start", "end", "sha1", "label_a", "label_b", "previous_start", "previous_end", "probabilities",
    "claim_probability",
)  # fmt: skip
_TEXT = ("text", "previous")
_SPANS = ("cue", "source")
_OPTIONAL = ("label_a", "label_b", "previous_start", "previous_end", "probabilities", "claim_probability")
_NUMBERS = ("confidence", "start", "end")


@dataclass(frozen=True)
class HydrationResult:
    """What became of the rows of a label file.

    Attributes:
        rows: Lines that are not blank; always `hydrated + missing`.
        hydrated: Rows written with their text.
        missing: Rows named in the file OUTPUT.missing.jsonl, each with its reason.
    """

    rows: int
    hydrated: int
    missing: int


def hydrate(labels: Path, clones: Sequence[Path], output: Path) -> HydrationResult:
    """Rebuild labelled rows from a label file and clones of the public collections.

    Clones may come in any order: a row is taken from the first one in which its document gives the hash.

    Args:
        labels: JSON lines as `strip_text` writes them, `.gz` allowed.
        clones: Folders that hold the documents under the paths that the labels name.
        output: JSON lines to write, compressed when the name ends in `.gz`; it appears when it is whole.

    Raises:
        YaqinError: The label file cannot be read or is empty, a clone is no folder, or the output cannot
            be written. A single row that cannot be rebuilt raises nothing: it is counted and reported.
    """
    roots = [_root(clone) for clone in clones]
    report = output.with_name(output.name + MISSING_SUFFIX)
    n_rows = n_missing = 0
    with written_whole(report) as missing, written_whole(output) as rows:
        for number, line in numbered_lines(labels):
            n_rows += 1
            label: dict[str, Any] = {}
            try:
                label = _parse(line)
                filled = _to_line(_fill(label, roots))
            except ValueError as error:
                n_missing += 1
                place = {"file": str(labels), "line": number, "id": label.get("id"), "document": label.get("document")}
                missing.write(json.dumps({**place, "reason": str(error)}).encode() + b"\n")
            else:
                rows.write(filled)
        if not n_rows:
            raise YaqinError(f"{labels}: expected labels, found an empty file")
    if not n_missing:
        report.unlink()
    return HydrationResult(n_rows, n_rows - n_missing, n_missing)


def strip_text(rows: Iterable[Mapping[str, Any]], output: Path) -> None:
    """Write the label file of labelled rows: everything but the words of others.

    `text` and `previous` are left out, `cue` and `source` become `[start, end]` within the sentence (null
    where there is none), and only known fields are kept. Equal rows give equal bytes.

    Raises:
        YaqinError: A row lacks a field, its text is not what its hash says, or its cue or source is not in
            the text; or the output cannot be written.
    """
    with written_whole(output) as file:
        for number, row in enumerate(rows, 1):
            try:
                label = {key: row[key] for key in _FIELDS if key in row and key not in _TEXT}
                _check(label)
                if _sha1(row["text"]) != label["sha1"]:
                    raise ValueError(f"expected a text with the SHA-1 {label['sha1']}, found {_sha1(row['text'])}")
                file.write(_to_line(label | {key: _find(row[key], row["text"]) for key in _SPANS}))
            except KeyError as error:
                raise YaqinError(f"row {number}: expected the field {error}, found nothing") from error
            except ValueError as error:
                raise YaqinError(f"row {number}: {error}") from error


def _root(clone: Path) -> Path:
    if not clone.is_dir():
        found = "a file" if clone.exists() else "nothing"
        raise YaqinError(f"{clone}: expected a clone of a public collection, found {found}")
    return clone.resolve()


def _parse(line: bytes) -> dict[str, Any]:
    try:
        label = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"expected JSON, found: {error}") from error
    if not isinstance(label, dict):
        raise ValueError(f"expected a JSON object, found {type(label).__name__}")
    return label


def _check(label: Mapping[str, Any]) -> None:
    """Refuse a label without the fields that place it.

    Raises:
        ValueError: The reason, as everywhere below.
    """
    for name in _FIELDS:
        if name in (*_TEXT, *_SPANS, *_OPTIONAL):
            continue
        kind, expected = (int, "a whole number") if name in _NUMBERS else (str, "a string")
        if not isinstance(label.get(name), kind):
            found = json.dumps(label[name])[:80] if name in label else "nothing"
            raise ValueError(f'expected {expected} in "{name}", found {found}')


def _fill(label: Mapping[str, Any], roots: Sequence[Path]) -> dict[str, Any]:
    """Give the labelled row with its text."""
    _check(label)
    reason = f"the document stands in no clone: expected one of github.com/{label['collection']}"
    for root in roots:
        document = _read(root, label["document"])
        if document is None:
            continue
        text = document[label["start"] : label["end"]]
        if _sha1(text) == label["sha1"]:
            previous = [label.get("previous_start"), label.get("previous_end")]
            before = "" if previous == [None, None] else _cut(document, previous, "previous")
            words = {"text": text, "previous": " ".join(before.split())}
            row = {**label, **words, **{key: _cut(text, label.get(key), key) for key in _SPANS}}
            return {key: row[key] for key in _FIELDS if key in row}
        reason = f"the document has changed: expected the SHA-1 {label['sha1']}, found {_sha1(text)}"
    raise ValueError(reason)


def _read(root: Path, document: str) -> str | None:
    """Read a document of a clone, every line end as a line feed; none where the clone has no such file."""
    try:
        path = (root / document).resolve()
        if not path.is_relative_to(root):
            raise ValueError("expected a document inside the clone, found a path that leaves it")
        return path.read_text(encoding="utf-8") if path.is_file() else None
    except UnicodeDecodeError as error:
        raise ValueError(f"expected a document in UTF-8, found byte 0x{error.object[error.start]:02x}") from error
    except OSError as error:
        raise ValueError(f"expected a readable document, found: {error.strerror}") from error


def _cut(text: str, span: Any, name: str) -> str:
    """Give the characters of `[start, end]`; null has none."""
    match span:
        case None:
            return ""
        case [int(start), int(end)] if 0 <= start <= end <= len(text):
            return text[start:end]
    raise ValueError(f'expected [start, end] within {len(text)} characters in "{name}", found {json.dumps(span)[:80]}')


def _find(words: str, text: str) -> list[int] | None:
    """Give where `words` first stand: as whole words, after a leading و or ف at most, if they do so anywhere."""
    if not words:
        return None
    whole = re.search(rf"(?<!\w)[وف]?({re.escape(words)})(?!\w)", text)
    if whole:
        return list(whole.span(1))
    start = text.find(words)
    if start < 0:
        raise ValueError(f"expected {words!r} in the text, found it nowhere")
    return [start, start + len(words)]


def _sha1(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _to_line(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"
