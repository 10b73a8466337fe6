"""An output folder holds every record once, whatever interrupted the run and however the work was divided."""

import csv
import dataclasses
import errno
import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from yaqin.inference import corpus, parts, writers
from yaqin.inference.checkpoint import Checkpoint
from yaqin.inference.corpus import Counts, Job, tag_corpus
from yaqin.inference.errors import MissingExtraError, YaqinError
from yaqin.inference.parts import Options
from yaqin.inference.records import find_inputs

BODIES = [
    "أعلنت وزارة الصحة افتتاح مستوصف في الحي. وقال مديره إن العمل يبدأ الأحد؟",
    "ربما يتأخر وصول السفينة.\nلم يصدر تعليق.",
    "No Arabic here.",
    "يتردد أن المدرب سيرحل! ونفى النادي ذلك.",
]
Content = dict[str, bytes]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "PART_SIZE", 4)


def articles(n: int, first: int = 0) -> list[dict[str, Any]]:
    """Make records; every fifth has no text and is rejected."""
    return [
        {"id": f"a{i}", "title": f"عنوان {i} ", "text": "" if i % 5 == 4 else BODIES[i % 4], "outlet": "o", "url": [i]}
        | ({"title": None} if i % 5 == 4 else {})
        for i in range(first, first + n)
    ]


@pytest.fixture
def job(tmp_path: Path, tiny_packed: Path, json_lines: Callable[..., Path]) -> Job:
    """22 records in 6 parts."""
    inputs = find_inputs([str(json_lines(articles(22)))])
    return Job(inputs, tmp_path / "out", Checkpoint(tiny_packed))


@pytest.fixture
def undisturbed(job: Job, tmp_path: Path) -> Content:
    """What the job gives when nothing comes between."""
    tag_corpus(dataclasses.replace(job, output=tmp_path / "undisturbed"))
    return content(tmp_path / "undisturbed")


def content(folder: Path) -> Content:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def rows(folder: Path, name: str = "tagged.jsonl") -> list[dict[str, Any]]:
    """Read the JSON lines of all parts."""
    lines = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob(f"part-*/{name}")))
    return [json.loads(line) for line in lines.split("\n")[:-1]]


def manifest(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "manifest.json").read_text(encoding="utf-8")))


def fail_at(monkeypatch: pytest.MonkeyPatch, name: str, call: int, error: BaseException) -> None:
    """Let the function `name` of a run raise when it is called for that time."""
    module = corpus if hasattr(corpus, name) else parts
    original, calls = getattr(module, name), iter(range(1, 1000))

    def failing(*arguments: Any) -> Any:
        if next(calls) == call:
            raise error
        return original(*arguments)

    monkeypatch.setattr(module, name, failing)


# What the folder says.


def test_records_in_are_tagged_and_rejected_in_every_part_and_in_all(job: Job) -> None:
    counts = tag_corpus(job)
    assert counts == Counts(records=22, tagged=18, rejected=4, sentences=len(rows(job.output)), parts=6)
    said = manifest(job.output)
    assert (said["records"], said["tagged"], said["rejected"], said["complete"]) == (22, 18, 4, True)
    assert [part["records"] for part in said["parts"]] == [4, 4, 4, 4, 4, 2]
    for part in said["parts"]:
        folder = job.output / part["part"]
        held = [path.read_text(encoding="utf-8").count("\n") for path in map(folder.joinpath, sorted(part["sha256"]))]
        assert held == [part["tagged"], part["rejected"], part["sentences"]]
        assert part["records"] == part["tagged"] + part["rejected"]
        for name, checksum in part["sha256"].items():
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == checksum


def test_every_article_is_there_once_in_input_order_with_its_fields(job: Job) -> None:
    tag_corpus(job)
    expected = [article for article in articles(22) if article["text"]]
    listed = [json.loads(line) for line in (job.output / "articles.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(a["article_id"], a["title"], a["outlet"], a["url"]) for a in listed] == [
        (a["id"], a["title"], a["outlet"], a["url"]) for a in expected
    ]
    tagged = rows(job.output)
    assert list(dict.fromkeys(row["article_id"] for row in tagged)) == [a["id"] for a in expected]
    assert [a["n_sentences"] for a in listed] == [
        sum(row["article_id"] == a["article_id"] for row in tagged) for a in listed
    ]


def test_offsets_point_into_the_original_field(job: Job) -> None:
    tag_corpus(job)
    originals = {article["id"]: article for article in articles(22)}
    for row in rows(job.output):
        assert originals[row["article_id"]][row["field"]][row["start"] : row["end"]] == row["text"]


def test_offsets_of_hostile_text_point_into_the_original(
    job: Job, hostile: str, json_lines: Callable[..., Path]
) -> None:
    inputs = find_inputs([str(json_lines([{"id": "h", "title": hostile, "text": hostile * 2}]))])
    tag_corpus(dataclasses.replace(job, inputs=inputs))
    fields = {"title": hostile, "text": hostile * 2}
    tagged = rows(job.output)
    assert {row["field"] for row in tagged} == {"title", "text"}
    assert all(fields[row["field"]][row["start"] : row["end"]] == row["text"] for row in tagged)


def test_rejections_are_listed_with_file_line_and_bytes(job: Job) -> None:
    tag_corpus(job)
    rejected = rows(job.output, "rejected.jsonl")
    assert [(row["file"], row["line"]) for row in rejected] == [("articles.jsonl", n) for n in (5, 10, 15, 20)]


def test_the_manifest_names_checkpoint_options_versions_and_inputs(job: Job) -> None:
    tag_corpus(job)
    said = manifest(job.output)
    assert said["checkpoint"] == {"name": "tiny", "sha256": job.checkpoint.sha256}
    assert said["options"]["precision"] == "int8"
    assert set(said["versions"]) == {"yaqin", "onnxruntime", "tokenizers", "numpy"}
    checksum = hashlib.sha256(job.inputs[0][0].read_bytes()).hexdigest()
    assert said["inputs"] == [{"name": "articles.jsonl", "sha256": checksum}]


@pytest.mark.parametrize("output_format", ["csv", "parquet"])
def test_tables_hold_the_same_sentences(job: Job, tmp_path: Path, output_format: Any) -> None:
    tag_corpus(job)
    expected = [(row["article_id"], row["text"], row["tag"] or "") for row in rows(job.output)]
    if output_format == "parquet":
        pytest.importorskip("pyarrow")
    table = dataclasses.replace(job, output=tmp_path / "table", options=Options(output_format=output_format))
    tag_corpus(table)
    found: list[dict[str, Any]] = []
    for path in sorted(table.output.glob(f"part-*/tagged.{output_format}")):
        if output_format == "csv":
            with path.open(encoding="utf-8", newline="") as file:
                found += csv.DictReader(file)
        else:
            from pyarrow import parquet

            found += parquet.read_table(path).to_pylist()
    assert [(row["article_id"], row["text"], row["tag"] or "") for row in found] == expected


def test_sentences_are_tagged_as_they_stand(job: Job) -> None:
    tag_corpus(dataclasses.replace(job, options=Options(sentences=True)))
    tagged = rows(job.output)
    assert [(row["article_id"], row["sentence_index"], row["field"], row["start"], row["text"]) for row in tagged] == [
        (article["id"], 0, "text", 0, article["text"]) for article in articles(22) if article["text"]
    ]


# Interrupted and resumed.


@pytest.mark.parametrize("name", ["tag_part", "commit", "_finish", "_sync"])
@pytest.mark.parametrize("call", [1, 3])
def test_an_interrupted_run_goes_on_to_the_same_bytes(
    job: Job, undisturbed: Content, monkeypatch: pytest.MonkeyPatch, name: str, call: int
) -> None:
    if name == "_finish":
        call = 1
    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        fail_at(broken, name, call, KeyboardInterrupt())
        tag_corpus(job)
    assert not manifest(job.output)["complete"]
    counts = tag_corpus(job)
    assert (counts.records, counts.tagged, counts.rejected) == (22, 18, 4)
    assert content(job.output) == undisturbed


def test_what_was_committed_is_never_done_again(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        fail_at(broken, "tag_part", 4, KeyboardInterrupt())
        tag_corpus(job)
    done: list[int] = []
    original = corpus.tag_part
    monkeypatch.setattr(corpus, "tag_part", lambda *a: done.append(a[1].index) or original(*a))
    tag_corpus(job)
    assert done == [3, 4, 5]


def test_a_finished_run_repeated_changes_nothing(job: Job, undisturbed: Content) -> None:
    first = tag_corpus(job)
    assert tag_corpus(job) == first
    assert content(job.output) == undisturbed


def test_a_full_disk_is_reported_and_the_run_goes_on_when_there_is_room(
    job: Job, undisturbed: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with monkeypatch.context() as broken, pytest.raises(YaqinError, match=r"No space left.*the same command goes on"):
        fail_at(broken, "write_sentences", 3, full)
        tag_corpus(job)
    tag_corpus(job)
    assert content(job.output) == undisturbed


# Refused.


def test_another_run_is_refused_and_told_what_differs(job: Job, tiny_copy: Path, tmp_path: Path) -> None:
    tag_corpus(job)
    before = content(job.output)
    (tiny_copy / "yaqin.json").write_text((tiny_copy / "yaqin.json").read_text().replace('"tiny"', '"other"'))
    more = tmp_path / "more.jsonl"
    more.write_bytes(job.inputs[0][0].read_bytes() + b'{"text": "a"}')
    others = {
        "options": {"options": Options(withhold=0.2)},
        "checkpoint": {"checkpoint": Checkpoint(tiny_copy)},
        "inputs": {"inputs": [(more, "articles.jsonl")]},
        "options, inputs": {"options": Options(sentences=True), "inputs": [(more, "more.jsonl")]},
    }
    for different, changes in others.items():
        with pytest.raises(YaqinError, match=rf"holds another run; different: {different}\. Choose another folder"):
            tag_corpus(dataclasses.replace(job, **changes))
    assert content(job.output) == before


def test_a_folder_with_other_files_is_refused(job: Job) -> None:
    job.output.mkdir()
    (job.output / "thesis.docx").touch()
    with pytest.raises(YaqinError, match=r"expected an empty folder or one of yaqin's, found other files"):
        tag_corpus(job)
    assert list(content(job.output)) == ["thesis.docx"]


@pytest.mark.parametrize("text", ["[]", "[1]", "not JSON", '{"name": "app"}'])
def test_a_foreign_manifest_is_refused(job: Job, text: str) -> None:
    job.output.mkdir()
    (job.output / "manifest.json").write_text(text)
    with pytest.raises(YaqinError, match=r"[Cc]hoose another folder"):
        tag_corpus(job)
    assert content(job.output) == {"manifest.json": text.encode()}


def test_a_folder_that_cannot_be_made_is_reported(job: Job) -> None:
    job.output.write_text("a file")
    with pytest.raises(YaqinError, match="out: expected to write there, found: File exists"):
        tag_corpus(job)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_reported(job: Job) -> None:
    job.output.mkdir(mode=0o500)
    with pytest.raises(YaqinError, match="out: expected to write there, found: Permission denied"):
        tag_corpus(job)


def test_an_input_without_records_leaves_no_folder(job: Job) -> None:
    job.inputs[0][0].write_text("\n\n")
    with pytest.raises(YaqinError, match=r"expected articles in articles\.jsonl, found no record"):
        tag_corpus(job)
    assert not job.output.exists()


def test_a_format_that_lacks_its_package_leaves_no_folder(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"--format parquet needs the extra 'parquet'"):
        tag_corpus(dataclasses.replace(job, options=Options(output_format="parquet")))
    assert not job.output.exists()


def test_a_missing_extra_comes_back_from_a_worker_as_it_is() -> None:
    error = MissingExtraError("--format parquet", "parquet")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301


@pytest.mark.parametrize("workers", [1, 2])
def test_a_checkpoint_that_does_not_open_leaves_no_folder(job: Job, workers: int) -> None:
    with pytest.raises(YaqinError, match="a packed checkpoint holds the int8 ONNX graph only"):
        tag_corpus(dataclasses.replace(job, workers=workers, options=Options(engine="torch", precision="fp32")))
    assert not job.output.exists()


# Appended.


@pytest.fixture
def feed(job: Job, json_lines: Callable[..., Path]) -> Callable[..., Counts]:
    """Append records to the folder, as a monitor does with a growing file."""

    def append(records: list[dict[str, Any]]) -> Counts:
        inputs = find_inputs([str(json_lines(records, "feed.jsonl"))])
        return tag_corpus(dataclasses.replace(job, inputs=inputs, append=True))

    return append


def test_append_tags_only_what_the_folder_does_not_hold(job: Job, feed: Callable[..., Counts]) -> None:
    assert feed(articles(6)) == Counts(records=6, tagged=5, rejected=1, sentences=14, parts=2)
    before = content(job.output)
    counts = feed(articles(11))
    assert (counts.records, counts.tagged, counts.rejected, counts.already_held) == (11, 4, 1, 6)
    after = content(job.output)
    assert all(after[name] == before[name] for name in before if name.startswith("part-"))
    expected = [article["id"] for article in articles(11) if article["text"]]
    assert list(dict.fromkeys(row["article_id"] for row in rows(job.output))) == expected
    assert (manifest(job.output)["tagged"], manifest(job.output)["complete"]) == (9, True)


def test_append_rejects_what_has_no_id_since_its_number_may_be_that_of_another(
    job: Job, feed: Callable[..., Counts]
) -> None:
    for body in BODIES[:2]:
        counts = feed([{"text": body}, {"id": body, "text": body}])
        assert (counts.tagged, counts.rejected) == (1, 1)
    assert all(row["reason"].startswith("expected an id") for row in rows(job.output, "rejected.jsonl"))


def test_append_into_an_unfinished_run_is_refused(
    job: Job, feed: Callable[..., Counts], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        fail_at(broken, "tag_part", 2, KeyboardInterrupt())
        tag_corpus(job)
    with pytest.raises(YaqinError, match="holds a run that is not finished: finish it with its own command"):
        feed(articles(30))
    tag_corpus(job)
    assert feed(articles(30, first=22)).tagged == 24


def test_append_goes_on_after_an_upgrade_of_a_library(
    job: Job, feed: Callable[..., Counts], monkeypatch: pytest.MonkeyPatch
) -> None:
    feed(articles(3))
    monkeypatch.setattr(corpus, "version", lambda name: "99")
    assert feed(articles(8)).tagged == 4


def test_append_of_nothing_new_tags_nothing(job: Job, feed: Callable[..., Counts]) -> None:
    known = [article for article in articles(6) if article["text"]]
    feed(known)
    before = content(job.output)
    assert feed(known) == Counts(records=5, already_held=5)
    assert content(job.output) == before


def test_append_after_a_run_with_gaps_loses_nothing(job: Job, feed: Callable[..., Counts]) -> None:
    tag_corpus(job)
    shutil.rmtree(job.output / "part-00002")  # as when two processes were killed
    feed(articles(22))
    held = [row["article_id"] for row in rows(job.output, "articles.jsonl")]
    assert sorted(held) == sorted(article["id"] for article in articles(22) if article["text"])


def test_an_interrupted_append_goes_on(job: Job, feed: Callable[..., Counts], monkeypatch: pytest.MonkeyPatch) -> None:
    feed(articles(3))
    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        fail_at(broken, "tag_part", 2, KeyboardInterrupt())
        feed(articles(22))
    feed(articles(22))
    held = [row["article_id"] for row in rows(job.output, "articles.jsonl")]
    assert held == [article["id"] for article in articles(22) if article["text"]]


def test_a_folder_that_was_appended_to_is_no_plain_run(job: Job, feed: Callable[..., Counts]) -> None:
    feed(articles(22))
    with pytest.raises(YaqinError, match="holds another run; different: append"):
        tag_corpus(dataclasses.replace(job, inputs=find_inputs([str(job.inputs[0][0].with_name("feed.jsonl"))])))


def test_append_refuses_other_options(job: Job) -> None:
    tag_corpus(job)
    with pytest.raises(YaqinError, match=r"different: options\. Choose another folder$"):
        tag_corpus(dataclasses.replace(job, append=True, options=Options(withhold=0.1)))


def test_a_part_that_another_shard_commits_at_the_end_is_in_the_manifest(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = corpus.write_json

    def write_late(path: Path, body: dict[str, Any]) -> None:
        """Let the second shard finish just before the first one writes its manifest."""
        if body.get("parts") and not (job.output / "part-00001").exists():
            monkeypatch.setattr(corpus, "write_json", write)
            tag_corpus(dataclasses.replace(job, shard=(2, 2)))
        write(path, body)

    monkeypatch.setattr(corpus, "write_json", write_late)
    tag_corpus(dataclasses.replace(job, shard=(1, 2)))
    assert [part["part"] for part in manifest(job.output)["parts"]] == [f"part-{i:05d}" for i in range(6)]
    assert manifest(job.output)["complete"]


def test_append_and_shard_exclude_each_other(job: Job) -> None:
    with pytest.raises(YaqinError, match="expected --append or --shard, found both"):
        tag_corpus(dataclasses.replace(job, append=True, shard=(1, 2)))


# Divided.


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_shards_together_are_the_whole(job: Job, undisturbed: Content, order: tuple[int, ...]) -> None:
    counts = [tag_corpus(dataclasses.replace(job, shard=(i, 3))) for i in order]
    assert sum(c.records for c in counts) == 22
    assert all(c.records == c.tagged + c.rejected for c in counts)
    assert content(job.output) == undisturbed


def test_one_shard_is_not_the_whole(job: Job) -> None:
    tag_corpus(dataclasses.replace(job, shard=(1, 2)))
    assert not manifest(job.output)["complete"]
    assert [path.name for path in sorted(job.output.glob("part-*"))] == ["part-00000", "part-00002", "part-00004"]


def test_more_shards_than_parts_leave_some_with_nothing_to_do(job: Job, undisturbed: Content) -> None:
    for i in range(1, 9):
        tag_corpus(dataclasses.replace(job, shard=(i, 8)))
    assert content(job.output) == undisturbed


def test_a_shard_leaves_alone_what_another_is_writing(job: Job) -> None:
    job.output.mkdir()
    at_work = job.output / "part-00001.tmp-99999"
    tag_corpus(dataclasses.replace(job, shard=(1, 2)))
    at_work.mkdir()
    tag_corpus(dataclasses.replace(job, shard=(1, 2)))
    assert at_work.is_dir()


def test_two_processes_on_one_part_leave_it_whole(
    job: Job, undisturbed: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = parts.commit

    def late(temporary: Path, final: Path) -> None:
        if not final.exists():
            shutil.copytree(temporary, final)  # the other process was first
        original(temporary, final)

    monkeypatch.setattr(parts, "commit", late)
    tag_corpus(job)
    assert content(job.output) == undisturbed


def test_two_workers_write_the_bytes_of_one(job: Job, undisturbed: Content) -> None:
    counts = tag_corpus(dataclasses.replace(job, workers=2))
    assert (counts.records, counts.tagged, counts.rejected, counts.parts) == (22, 18, 4, 6)
    assert content(job.output) == undisturbed


@pytest.mark.parametrize("workers", [1, 2])
def test_progress_counts_every_record_and_sentence_once(job: Job, workers: int) -> None:
    told: list[tuple[int, int]] = []
    counts = tag_corpus(dataclasses.replace(job, workers=workers), lambda *n: told.append(n))
    assert [sum(column) for column in zip(*told, strict=True)] == [counts.records, counts.sentences]
