"""Tagging a corpus into an output folder: parts that are committed whole, so that a run can go on."""

import json
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import islice
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

from yaqin.inference.checkpoint import Checkpoint, file_sha256
from yaqin.inference.errors import YaqinError
from yaqin.inference.parts import (
    ARTICLES_FILE,
    PART_FILE,
    REJECTED_FILE,
    Options,
    Part,
    Progress,
    committed,
    read_done,
    tag_part,
    write_json,
)
from yaqin.inference.records import Record, id_digest, read_records, rejection_digest
from yaqin.inference.tagger import Article, Tagger
from yaqin.inference.writers import need_format

PART_SIZE = 500
"""Records in a part: about one window of sentences, a minute or two of work."""
MANIFEST_FILE = "manifest.json"


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
    options: Options = field(default_factory=Options)
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


def tag_corpus(job: Job, progress: Progress | None = None) -> Counts:
    """Tag every record of a job and write the manifest.

    Raises:
        YaqinError: The folder holds another run, the input is empty or unreadable, or the disk is full.
    """
    if job.append and job.shard != (1, 1):
        raise YaqinError("expected --append or --shard, found both: what one shard adds would shift the others")
    if next(_records(job), None) is None:
        raise YaqinError(f"expected articles in {', '.join(name for _, name in job.inputs)}, found no record")
    # Before anything is written, so that a missing package or a checkpoint that does not open leaves no trace.
    need_format(job.options.output_format)
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


def _records(job: Job) -> Iterator[Record]:
    """Read the records of a job; those without an id cannot be appended, since numbers shift as a feed grows."""
    return read_records(job.inputs, job.options.columns, sentences=job.options.sentences, need_ids=job.append)


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
        The index of the first new part and, when appending, digests of the records already held.
    """
    job.output.mkdir(parents=True, exist_ok=True)
    manifest = job.output / MANIFEST_FILE
    # Looked at first: another shard may write its manifest at this moment.
    occupied = any(not path.name.startswith(MANIFEST_FILE) for path in job.output.iterdir())
    if manifest.is_file():
        _refuse_another_run(job, _read_manifest(manifest), header)
    elif occupied:
        raise YaqinError(f"{job.output}: expected an empty folder or one of yaqin's, found other files")
    write_json(manifest, {**header, "complete": False})
    if not job.append:
        return 0, set()
    parts = committed(job.output)
    held = {id_digest(article["article_id"]) for article in _lines_of(parts, ARTICLES_FILE)}
    held |= {rejection_digest(rejected) for rejected in _lines_of(parts, REJECTED_FILE)}
    # Not the number of parts: those of an interrupted run may have gaps.
    return max((int(part.name.removeprefix("part-")) + 1 for part in parts), default=0), held


def _lines_of(parts: Sequence[Path], name: str) -> Iterator[dict[str, Any]]:
    for part in parts:
        with (part / name).open(encoding="utf-8") as file:
            yield from map(json.loads, file)


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise YaqinError(f"{path}: expected a manifest of yaqin, found another file: choose another folder") from error


def _refuse_another_run(job: Job, found: dict[str, Any], header: dict[str, Any]) -> None:
    expected = json.loads(json.dumps(header))
    if job.append and not found.get("append") and not found.get("complete"):
        raise YaqinError(
            f"{job.output}: holds a run that is not finished: finish it with its own command, then --append"
        )
    # What is appended comes later: from other inputs, and perhaps after an upgrade of a library.
    keys = [key for key in expected if not (job.append and key in ("inputs", "append", "versions"))]
    different = [key for key in keys if found.get(key) != expected[key]]
    if different:
        raise YaqinError(
            f"{job.output}: holds another run; different: {', '.join(different)}. "
            "Choose another folder" + (", or add new records with --append" if "inputs" in different else "")
        )


def _parts(job: Job, first: int, held: set[bytes], counts: Counts) -> Iterator[Part]:
    """Cut the records that are not held yet into parts; give those of this shard that are not committed."""

    def fresh() -> Iterator[Record]:
        for record in _records(job):
            counts.records += 1
            if held and _digest(record) in held:
                counts.already_held += 1
            else:
                yield record

    stream = fresh()
    index = first
    while records := list(islice(stream, PART_SIZE)):
        part = Part(index, records, job.output, job.options)
        if (index - first) % job.shard[1] == job.shard[0] - 1:
            yield part
        else:
            counts.records -= len(records)
        index += 1
        counts.parts = index


def _digest(record: Record) -> bytes:
    return id_digest(record.id) if isinstance(record, Article) else rejection_digest(record.to_json())


def _run(
    job: Job, tagger: Tagger, parts: Iterator[Part], progress: Progress | None
) -> Iterator[tuple[Part, dict[str, Any]]]:
    """Do the parts, in this process or in several; only a few wait in memory at a time."""
    if job.workers == 1:
        for part in parts:
            if (done := read_done(part)) is None:
                done = tag_part(tagger, part, progress)
            elif progress:
                progress(len(part.records), done["sentences"])
            yield part, done
        return
    arguments = (job.checkpoint.folder, job.options)
    with ProcessPoolExecutor(job.workers, get_context("spawn"), _start_worker, arguments) as pool:
        try:
            waiting: list[tuple[Part, Future[dict[str, Any]]]] = []
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


def _submit(pool: ProcessPoolExecutor, part: Part) -> Future[dict[str, Any]]:
    """Hand a part to the pool. A worker born here inherits that Ctrl-C is for its parent alone."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        return pool.submit(_work, part)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_worker_tagger: list[Tagger] = []


def _start_worker(folder: Path, options: Options) -> None:
    _worker_tagger[:] = [_tagger(Checkpoint(folder), options, 1)]


def _work(part: Part) -> dict[str, Any]:
    return read_done(part) or tag_part(_worker_tagger[0], part, None)


def _tagger(checkpoint: Checkpoint, options: Options, threads: int) -> Tagger:
    return Tagger(
        checkpoint,
        engine=options.engine,
        precision=options.precision,
        threads=threads,
        withhold=options.withhold,
    )


def _finish(job: Job, header: dict[str, Any], n_parts: int) -> None:
    """Gather the parts: `articles.jsonl` of the whole, and the manifest with every part's checksums.

    Once more if another shard has committed parts in the meantime: of two that end together, each could miss the
    other's.
    """
    parts: list[Path] | None = None
    while (found := committed(job.output)) != parts:
        parts = found
        _gather(job, header, parts, n_parts)


def _gather(job: Job, header: dict[str, Any], parts: Sequence[Path], n_parts: int) -> None:
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
    write_json(job.output / MANIFEST_FILE, {**header, **totals, "parts": done, "complete": complete})
