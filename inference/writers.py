"""Writers of tagged sentences: JSON lines, CSV and Parquet, one row a sentence."""

import csv
import json
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from yaqin.inference.checkpoint import LABELS
from yaqin.inference.errors import MissingExtraError
from yaqin.inference.tagger import TaggedSentence

OutputFormat = Literal["jsonl", "csv", "parquet"]
COLUMNS = (
    "article_id",
    "sentence_index",
    "outlet",
    "date",
    "field",
    "start",
    "end",
    "text",
    "tag",
    "probabilities",
    "claim_probability",
    "uncertain",
    "truncated",
    "evidence",
    "stage",
)
_EXECUTED = ("=", "+", "-", "@", "\t", "\r")
"""First characters that make a spreadsheet run a cell."""


def to_record(sentence: TaggedSentence) -> dict[str, Any]:
    """Give a sentence as the record of the design, its fields in order."""
    record = {name: getattr(sentence, name) for name in COLUMNS}
    record["claim_probability"] = round(sentence.claim_probability, 6)
    record["evidence"] = list(sentence.evidence)
    return record


def to_line(record: dict[str, Any]) -> str:
    """Give a JSON line; lone surrogates are escaped, so that it can always be written as UTF-8."""
    line = json.dumps(record, ensure_ascii=False, default=str)  # str: dates of a Parquet file
    try:
        line.encode("utf-8")
    except UnicodeEncodeError:
        line = json.dumps(record, default=str)
    return line + "\n"


def flat(record: dict[str, Any]) -> dict[str, Any]:
    """Flatten a record for tables: `p_<class>` columns, evidence as JSON, lone surrogates as U+FFFD."""
    row: dict[str, Any] = {}
    for name, value in record.items():
        if name == "probabilities":
            row |= {f"p_{label}": value[label] for label in LABELS}
        elif name == "evidence":
            row[name] = _mend(json.dumps(value, ensure_ascii=False))
        else:
            row[name] = _mend(value) if isinstance(value, str) else value
    return row


def _mend(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def need_format(output_format: OutputFormat) -> None:
    """Look for what a format needs before anything is written.

    Raises:
        MissingExtraError: The package is not installed.
    """
    if output_format == "parquet" and not find_spec("pyarrow"):
        raise MissingExtraError("--format parquet", "parquet")


def write_sentences(path: Path, sentences: Iterable[TaggedSentence], output_format: OutputFormat) -> int:
    """Write one part and give its number of sentences."""
    return _WRITERS[output_format](path, sentences)


def _write_jsonl(path: Path, sentences: Iterable[TaggedSentence]) -> int:
    n = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for sentence in sentences:
            file.write(to_line(to_record(sentence)))
            n += 1
    return n


def _write_csv(path: Path, sentences: Iterable[TaggedSentence]) -> int:
    n = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in _fields()])
        writer.writeheader()
        for sentence in sentences:
            row = flat(to_record(sentence))
            writer.writerow({name: _neutral(value) for name, value in row.items()})
            n += 1
    return n


def _neutral(value: Any) -> Any:
    """Put an apostrophe before a cell that a spreadsheet would execute."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_EXECUTED) else value


def _write_parquet(path: Path, sentences: Iterable[TaggedSentence]) -> int:
    import pyarrow
    from pyarrow import parquet

    types = {
        "str": pyarrow.string(),
        "int": pyarrow.int64(),
        "float": pyarrow.float64(),
        "bool": pyarrow.bool_(),
    }
    schema = pyarrow.schema([(field.name, types[field.kind]) for field in _fields()])
    rows = [flat(to_record(sentence)) for sentence in sentences]
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), path)
    return len(rows)


class _Field:
    """A column of a table."""

    def __init__(self, name: str, kind: str) -> None:
        self.name, self.kind = name, kind


def _fields() -> list[_Field]:
    kinds = {"sentence_index": "int", "start": "int", "end": "int", "claim_probability": "float"}
    kinds |= {"uncertain": "bool", "truncated": "bool"}
    fields: list[_Field] = []
    for name in COLUMNS:
        if name == "probabilities":
            fields += [_Field(f"p_{label}", "float") for label in LABELS]
        else:
            fields.append(_Field(name, kinds.get(name, "str")))
    return fields


_WRITERS = {"jsonl": _write_jsonl, "csv": _write_csv, "parquet": _write_parquet}
