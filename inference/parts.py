"""A part of a corpus run: written beside its name, and renamed when every file in it is on the disk.

Its `part.json` says what it holds. What was renamed is never done again, what was not is done anew, and the bytes
depend on the records, the checkpoint and the options alone.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yaqin.inference.checkpoint import Precision, file_sha256
from yaqin.inference.engines import EngineName
from yaqin.inference.readers import Columns, Rejected
from yaqin.inference.records import Record
from yaqin.inference.tagger import Article, TaggedArticle, TaggedSentence, Tagger
from yaqin.inference.writers import OutputFormat, to_line, write_sentences

ARTICLES_FILE = "articles.jsonl"
REJECTED_FILE = "rejected.jsonl"
PART_FILE = "part.json"


@dataclass(frozen=True)
class Options:
    """What decides the bytes of a part, beside its records."""

    engine: EngineName = "onnx"
    precision: Precision = "int8"
    output_format: OutputFormat = "jsonl"
    sentences: bool = False
    withhold: float = 0.0
    columns: Columns = field(default_factory=Columns)


@dataclass(frozen=True)
class Part:
    """One part of a job: enough for any process to do it."""

    index: int
    records: list[Record]
    output: Path
    options: Options

    @property
    def folder(self) -> Path:
        """Where it stands once it is committed."""
        return self.output / f"part-{self.index:05d}"


Progress = Callable[[int, int], None]
"""Told how many records and sentences were finished since the last call."""


def read_done(part: Part) -> dict[str, Any] | None:
    """Give what `part.json` says, or None where the part is not committed yet."""
    path = part.folder / PART_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def tag_part(tagger: Tagger, part: Part, progress: Progress | None) -> dict[str, Any]:
    """Tag a part into a folder of its own and rename that when it is on the disk."""
    temporary = part.folder.with_name(f"{part.folder.name}.tmp-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    articles = [record for record in part.records if isinstance(record, Article)]
    rejected = [record for record in part.records if isinstance(record, Rejected)]
    tagger.on_batch = (lambda n: progress(0, n)) if progress else None
    name = f"tagged.{part.options.output_format}"
    with (temporary / ARTICLES_FILE).open("w", encoding="utf-8", newline="\n") as file:

        def sentences() -> Iterator[TaggedSentence]:
            for tagged in tagger.tag_articles(articles, as_sentences=part.options.sentences):
                file.write(to_line(_article_record(tagged)))
                yield from tagged.sentences

        n_sentences = write_sentences(temporary / name, sentences(), part.options.output_format)
    with (temporary / REJECTED_FILE).open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(to_line(record.to_json()) for record in rejected)
    done = {
        "part": part.folder.name,
        "records": len(part.records),
        "tagged": len(articles),
        "rejected": len(rejected),
        "sentences": n_sentences,
        "sha256": {path: file_sha256(temporary / path) for path in (name, ARTICLES_FILE, REJECTED_FILE)},
    }
    write_json(temporary / PART_FILE, done)
    commit(temporary, part.folder)
    if progress:
        progress(len(part.records), 0)
    return done


def commit(temporary: Path, final: Path) -> None:
    """Put a finished part in its place; where another process was first, its equal bytes stay."""
    for path in (*temporary.iterdir(), temporary):
        _sync(path)
    try:
        temporary.rename(final)
    except OSError:
        if not (final / PART_FILE).is_file():
            raise
        shutil.rmtree(temporary)
    _sync(final.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _article_record(tagged: TaggedArticle) -> dict[str, Any]:
    article = tagged.article
    known = {"article_id": article.id, "title": article.title, "outlet": article.outlet, "date": article.date}
    return {**article.extra, **known, "n_sentences": len(tagged.sentences)}


def committed(output: Path) -> list[Path]:
    """List the folders of committed parts, in order."""
    return sorted(path.parent for path in output.glob(f"part-?????/{PART_FILE}"))


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON beside its name and rename it; escaped, since a file name may be no UTF-8."""
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    temporary.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")
    temporary.replace(path)
