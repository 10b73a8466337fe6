"""Tagging a corpus into an output folder: parts that are committed whole, so that a run can go on.

A part holds a fixed number of records in input order. It is written beside its name and renamed when every
file in it is on the disk; its `part.json` says what it holds. What was renamed is never done again, what was
not is done anew, and the bytes of a part depend on its records, the checkpoint and the options alone.
"""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import islice
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

from yaqin.inference.checkpoint import Checkpoint, Precision, file_sha256
from yaqin.inference.engines import EngineName
from yaqin.inference.errors import YaqinError
from yaqin.inference.records import Columns, Record, Rejected, id_digest, read_records
from yaqin.inference.tagger import Article, TaggedArticle, TaggedSentence, Tagger
from yaqin.inference.writers import OutputFormat, to_line, write_sentences

PART_SIZE = 500
"""Records in a part: about one window of sentences, a minute or two of work."""
MANIFEST_FILE = "manifest.json"
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
class Job:
    """A corpus to tag.

    Attributes:
        inputs: Files in order, with the names that their records carry.
        output: The folder.
        checkpoint: What tags.
        options: How.
        workers: Processes side by side; each runs one thread then.
        shard: `(i, n)`: do only every n-th part, from the i-th on (from 1).
        append: Tag only records that the folder does not hold yet.
    """

    inputs: list[tuple[Path, str]]
    output: Path
    checkpoint: Checkpoint
    options: Options = Options()
    workers: int = 1
    shard: tuple[int, int] = (1, 1)
    append: bool = False


@dataclass
class Counts:
    """Where the records went: `records == tagged + rejected + already_held`. Parts are those of all shards."""

    records: int = 0
    tagged: int = 0
    rejected: int = 0
    already_held: int = 0
    sentences: int = 0
    parts: int = 0


@dataclass(frozen=True)
class _Part:
    """One part of a job: enough for any process to do it."""

    index: int
    records: list[Record]
    output: Path
    options: Options

    @property
    def folder(self) -> Path:
        return self.output / f"part-{self.index:05d}"


Progress = Callable[[int, int], None]
"""Told how many records and sentences were finished since the last call."""


def tag_corpus(job: Job, progress: Progress | None = None) -> Counts:
    """Tag every record of a job and write the manifest.

    Raises:
        YaqinError: The folder holds another run, the input is empty or unreadable, or the disk is full.
    """
    if job.append and job.shard != (1, 1):
        raise YaqinError("expected --append or --shard, found both: what one shard adds would shift the others")
    if next(read_records(job.inputs, job.options.columns, sentences=job.options.sentences), None) is None:
        raise YaqinError(f"expected articles in {', '.join(name for _, name in job.inputs)}, found no record")
    # Before anything is written, so that a checkpoint that does not open leaves no trace.
    tagger = _tagger(job.checkpoint, job.options, 0 if job.workers == 1 else 1)
    header = _header(job)
    counts = Counts()
    try:
        first, held = _open_output(job, header)
        for part, done in _run(job, tagger, _parts(job, first, held, counts), progress):
            counts.tagged += done["tagged"]
            counts.rejected += done["rejected"]
            counts.sentences += done["sentences"]
            if progress and job.workers > 1:
                progress(len(part.records), done["sentences"])
        _finish(job, header, counts.parts)
    except OSError as error:
        raise YaqinError(
            f"{job.output}: expected to write there, found: {error.strerror or error}; committed parts are safe, "
            "the same command goes on from them"
        ) from error
    return counts


def _header(job: Job) -> dict[str, Any]:
    """Say what the run is: two runs with the same header give the same bytes."""
    return {
        "checkpoint": {"name": job.checkpoint.info.name, "sha256": job.checkpoint.sha256},
        "options": asdict(job.options),
        "versions": {name: version(name) for name in ("yaqin", "onnxruntime", "tokenizers", "numpy")},
        "part_size": PART_SIZE,
        "append": job.append,
        "inputs": [{"name": name, "sha256": file_sha256(path)} for path, name in job.inputs],
    }


def _open_output(job: Job, header: dict[str, Any]) -> tuple[int, set[bytes]]:
    """Make the folder, or check that what stands there is this run.

    Returns:
        The index of the first new part and, when appending, digests of the ids already held.
    """
    job.output.mkdir(parents=True, exist_ok=True)
    manifest = job.output / MANIFEST_FILE
    # Looked at first: another shard may write its manifest at this moment.
    occupied = any(not path.name.startswith(MANIFEST_FILE) for path in job.output.iterdir())
    if manifest.is_file():
        _refuse_another_run(job, _read_manifest(manifest), header)
    elif occupied:
        raise YaqinError(f"{job.output}: expected an empty folder or one of yaqin's, found other files")
    _write_json(manifest, {**header, "complete": False})
    if not job.append:
        return 0, set()
    parts = _committed(job.output)
    held = {
        id_digest(json.loads(line)["article_id"])
        for part in parts
        for line in (part / ARTICLES_FILE).open(encoding="utf-8")
    }
    # Not the number of parts: those of an interrupted run may have gaps.
    return max((int(part.name.removeprefix("part-")) + 1 for part in parts), default=0), held


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise YaqinError(f"{path}: expected a manifest of yaqin, found another file: choose another folder") from error


def _refuse_another_run(job: Job, found: dict[str, Any], header: dict[str, Any]) -> None:
    expected = json.loads(json.dumps(header))
    keys = [key for key in expected if not (job.append and key in ("inputs", "append"))]
    different = [key for key in keys if found.get(key) != expected[key]]
    if different:
        raise YaqinError(
            f"{job.output}: holds another run; different: {', '.join(different)}. "
            "Choose another folder" + (", or add new records with --append" if "inputs" in different else "")
        )


def _parts(job: Job, first: int, held: set[bytes], counts: Counts) -> Iterator[_Part]:
    """Cut the records that are not held yet into parts; give those of this shard that are not committed."""

    def fresh() -> Iterator[Record]:
        for record in read_records(job.inputs, job.options.columns, sentences=job.options.sentences):
            counts.records += 1
            if isinstance(record, Article) and id_digest(record.id) in held:
                counts.already_held += 1
            else:
                yield record

    stream = fresh()
    index = first
    while records := list(islice(stream, PART_SIZE)):
        part = _Part(index, records, job.output, job.options)
        if (index - first) % job.shard[1] == job.shard[0] - 1:
            yield part
        else:
            counts.records -= len(records)
        index += 1
        counts.parts = index


def _run(
    job: Job, tagger: Tagger, parts: Iterator[_Part], progress: Progress | None
) -> Iterator[tuple[_Part, dict[str, Any]]]:
    """Do the parts, in this process or in several; only a few wait in memory at a time."""
    if job.workers == 1:
        for part in parts:
            if (done := _committed_part(part)) is None:
                done = _tag_part(tagger, part, progress)
            elif progress:
                progress(len(part.records), done["sentences"])
            yield part, done
        return
    arguments = (job.checkpoint.folder, job.options)
    with ProcessPoolExecutor(job.workers, get_context("spawn"), _start_worker, arguments) as pool:
        try:
            waiting: list[tuple[_Part, Future[dict[str, Any]]]] = []
            for part in parts:
                waiting.append((part, _submit(pool, part)))
                if len(waiting) > job.workers:
                    oldest, future = waiting.pop(0)
                    yield oldest, future.result()
            for part, future in waiting:
                yield part, future.result()
        except BaseException:  # an interruption does not wait for parts that are half done
            for worker in active_children():
                worker.terminate()
            raise


def _submit(pool: ProcessPoolExecutor, part: _Part) -> Future[dict[str, Any]]:
    """Hand a part to the pool. A worker born here inherits that Ctrl-C is for its parent alone."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        return pool.submit(_work, part)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_worker_tagger: list[Tagger] = []


def _start_worker(folder: Path, options: Options) -> None:
    _worker_tagger[:] = [_tagger(Checkpoint(folder), options, 1)]


def _work(part: _Part) -> dict[str, Any]:
    return _committed_part(part) or _tag_part(_worker_tagger[0], part, None)


def _tagger(checkpoint: Checkpoint, options: Options, threads: int) -> Tagger:
    return Tagger(
        checkpoint,
        engine=options.engine,
        precision=options.precision,
        threads=threads,
        withhold=options.withhold,
    )


def _committed_part(part: _Part) -> dict[str, Any] | None:
    path = part.folder / PART_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _tag_part(tagger: Tagger, part: _Part, progress: Progress | None) -> dict[str, Any]:
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
    _write_json(temporary / PART_FILE, done)
    _commit(temporary, part.folder)
    if progress:
        progress(len(part.records), 0)
    return done


def _commit(temporary: Path, final: Path) -> None:
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


def _committed(output: Path) -> list[Path]:
    return sorted(path.parent for path in output.glob(f"part-?????/{PART_FILE}"))


def _finish(job: Job, header: dict[str, Any], n_parts: int) -> None:
    """Gather the parts: `articles.jsonl` of the whole, and the manifest with every part's checksums."""
    parts = _committed(job.output)
    temporary = job.output / f"{ARTICLES_FILE}.tmp-{os.getpid()}"
    with temporary.open("wb") as file:
        for part in parts:
            file.write((part / ARTICLES_FILE).read_bytes())
            for stale in job.output.glob(f"{part.name}.tmp-*"):  # of a killed run; other shards are at work on the rest
                shutil.rmtree(stale, ignore_errors=True)
    temporary.replace(job.output / ARTICLES_FILE)
    done = [json.loads((part / PART_FILE).read_text(encoding="utf-8")) for part in parts]
    totals = {key: sum(part[key] for part in done) for key in ("records", "tagged", "rejected", "sentences")}
    complete = job.append or len(parts) == n_parts
    _write_json(job.output / MANIFEST_FILE, {**header, **totals, "parts": done, "complete": complete})


def _write_json(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    temporary.write_text(json.dumps(content, ensure_ascii=False, indent=2, default=str) + "\n", encoding="utf-8")
    temporary.replace(path)
