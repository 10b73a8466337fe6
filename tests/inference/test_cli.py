"""The command line: JSON lines on standard output and nothing else, one line for a mistake, the promised exit codes."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from yaqin.inference import cli, corpus

TEXTS = ["أعلن النادي موعد المباراة. وقال المدرب إن الفريق جاهز.", "ربما تتأجل الرحلة.", "No Arabic."]
ARTICLES = [{"id": f"a{i}", "title": f"عنوان {i}", "text": TEXTS[i % 3]} for i in range(40)]
SMALL_PARTS = "from yaqin.inference import corpus\ncorpus.PART_SIZE = 4\n"
BANNED = {"torch", "transformers", "datasets", "sklearn", "scipy", "pandas", "pyarrow", "onnx"}
Run = Callable[..., Any]


@pytest.fixture
def news(json_lines: Callable[..., Path]) -> Path:
    return json_lines(ARTICLES)


def one_line(err: str) -> str:
    """Give the message of a mistake, which is one line."""
    assert err.startswith("yaqin: ")
    assert err.count("\n") == 1
    return err.removeprefix("yaqin: ").rstrip("\n")


def wait_for(path: Path, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 240
    while not path.exists():
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# Output.


def test_without_a_folder_json_lines_and_nothing_else_stand_on_standard_output(yaqin: Run, news: Path) -> None:
    result = yaqin("tag", news)
    assert (result.code, result.err) == (0, "")
    originals = {article["id"]: article for article in ARTICLES}
    assert list(dict.fromkeys(row["article_id"] for row in result.records)) == list(originals)
    for row in result.records:
        assert originals[row["article_id"]][row["field"]][row["start"] : row["end"]] == row["text"]


def test_standard_output_and_a_folder_hold_the_same_lines(yaqin: Run, news: Path, tmp_path: Path) -> None:
    lines = yaqin("tag", news).out
    result = yaqin("tag", news, "--output", tmp_path / "out")
    assert (result.code, result.out) == (0, b"")
    assert b"".join(p.read_bytes() for p in sorted(tmp_path.glob("out/part-*/tagged.jsonl"))) == lines
    assert result.err == f"40 records: 40 tagged ({len(lines.splitlines())} sentences), 0 rejected; {tmp_path}/out\n"


def test_standard_input_is_json_lines(yaqin: Run, news: Path, tmp_path: Path) -> None:
    lines = yaqin("tag", news).out
    assert yaqin("tag", "-", stdin=news.read_bytes()).out == lines
    assert yaqin("tag", "-", "--output", tmp_path / "out", stdin=news.read_bytes()).code == 0
    assert (tmp_path / "out" / "part-00000" / "tagged.jsonl").read_bytes() == lines
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["inputs"][0]["name"] == "standard input"


def test_rejected_records_are_shown_and_counted_and_the_code_is_3(yaqin: Run) -> None:
    lines = b'{"id": 1, "text": "a"}\n[]\n{"id": 2, "text": null}\n'
    result = yaqin("tag", "-", stdin=lines)
    assert result.code == 3
    assert [row["article_id"] for row in result.records] == ["1"]
    assert result.err.splitlines() == [
        "yaqin: standard input:2: expected a JSON object, found list; the record was rejected",
        'yaqin: standard input:3: expected a string in "text", found null; the record was rejected',
        "yaqin: 2 of 3 records were rejected",
    ]


def test_rejected_records_of_a_folder_are_counted_and_the_code_is_3(yaqin: Run, tmp_path: Path) -> None:
    result = yaqin("tag", "-", "--output", tmp_path / "out", stdin=b'{"id": 1, "text": "a"}\n[]\n')
    assert result.code == 3
    assert "2 records: 1 tagged (1 sentences), 1 rejected" in result.err
    assert f"see {tmp_path}/out/part-*/rejected.jsonl for the reasons" in result.err


def test_all_records_rejected_is_3_as_well(yaqin: Run) -> None:
    assert yaqin("tag", "-", stdin=b"[]\n").code == 3


def test_hostile_text_passes_through_a_pipe(yaqin: Run, hostile: str) -> None:
    result = yaqin("tag", "-", stdin=json.dumps({"id": "h", "text": hostile}).encode())
    assert result.code == 0
    assert all(hostile[row["start"] : row["end"]] == row["text"] for row in result.records)
    assert any(row["truncated"] for row in result.records) == ("كلمة كلمة" in hostile)


def test_a_terminal_gets_a_readable_view_that_cannot_be_disturbed(yaqin: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.sys.stdout, "isatty", lambda: True)
    lines = [{"id": "a\x1b]0;x\x07", "text": "خبر\x1b[2J أول،\nثان\u202e."}, {"id": "b", "text": "Nothing."}]
    result = yaqin("tag", "-", stdin="\n".join(map(json.dumps, lines)).encode())
    shown = re.sub("\x1b\\[[0-9;]*m", "", result.out.decode())
    assert "خبر\ufffd[2J أول، ثان\ufffd." in shown
    assert "a\ufffd]0;x\ufffd" in shown
    assert "· no claim" in shown
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", shown)


def test_a_pipe_gets_json_lines_also_where_colour_is_forced(
    yaqin: Run, news: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert len(yaqin("tag", news).records) > 40


def test_a_file_where_a_folder_should_be_is_a_mistake(yaqin: Run, news: Path) -> None:
    result = yaqin("tag", news, "--output", news)
    assert result.code == 2
    assert "File exists" in one_line(result.err)


def test_a_file_name_that_is_no_utf8_is_no_obstacle(yaqin: Run, news: Path, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xd3.jsonl"))
    shutil.copyfile(news, path)
    assert yaqin("tag", path, "--output", tmp_path / "out").code == 0


def test_sentences_with_previous_are_tagged_as_they_stand(yaqin: Run) -> None:
    line = json.dumps({"id": "s", "text": f"{TEXTS[0]} {TEXTS[1]}", "previous": TEXTS[1]}).encode()
    (row,) = yaqin("tag", "-", "--sentences", stdin=line).records
    assert (row["article_id"], row["sentence_index"], row["text"]) == ("s", 0, f"{TEXTS[0]} {TEXTS[1]}")
    (alone,) = yaqin("tag", "-", "--sentences", stdin=line.replace(b'"previous"', b'"before"')).records
    assert alone["probabilities"] != row["probabilities"]


def test_columns_are_named_on_the_command_line(yaqin: Run, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("uid,head,body,paper,day\n7,عنوان,خبر.,صحيفة,2024-01-01\n", encoding="utf-8")
    names = {"id": "uid", "title": "head", "text": "body", "outlet": "paper", "date": "day"}
    options = [part for ours, theirs in names.items() for part in (f"--{ours}-column", theirs)]
    title, text = yaqin("tag", tmp_path / "a.csv", *options).records
    assert (title["field"], title["text"], text["text"]) == ("title", "عنوان", "خبر.")
    assert (text["article_id"], text["outlet"], text["date"]) == ("7", "صحيفة", "2024-01-01")


@pytest.mark.parametrize("output_format", ["csv", "parquet"])
def test_tables_are_written_into_the_folder(yaqin: Run, news: Path, tmp_path: Path, output_format: str) -> None:
    if output_format == "parquet":
        pytest.importorskip("pyarrow")
    assert yaqin("tag", news, "--output", tmp_path / "out", "--format", output_format).code == 0
    assert (tmp_path / "out" / "part-00000" / f"tagged.{output_format}").stat().st_size > 1000


def test_withhold_marks_sentences_as_uncertain(yaqin: Run, news: Path) -> None:
    marked = [row["uncertain"] for row in yaqin("tag", news, "--withhold", "0.5").records]
    assert 0 < sum(marked) < len(marked)
    assert not any(row["uncertain"] for row in yaqin("tag", news).records)


def test_append_says_how_many_were_held(yaqin: Run, tmp_path: Path, json_lines: Callable[..., Path]) -> None:
    yaqin("tag", json_lines(ARTICLES[:4]), "--output", tmp_path / "out", "--append")
    result = yaqin("tag", json_lines(ARTICLES[:6]), "--output", tmp_path / "out", "--append")
    assert result.code == 0
    assert "6 records: 2 tagged" in result.err
    assert "0 rejected, 4 already held" in result.err


def test_shards_are_divided_and_a_report_written(
    yaqin: Run, news: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "PART_SIZE", 4)
    for shard in ("1/2", "2/2"):
        assert yaqin("tag", news, "--output", tmp_path / "out", "--shard", shard).code == 0
    assert yaqin("tag", news, "--output", tmp_path / "whole", "--report", tmp_path / "page.html").code == 0
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    assert "عنوان 39" in (tmp_path / "page.html").read_text(encoding="utf-8")


# Mistakes.


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nowhere.jsonl"], "nowhere.jsonl: expected a file or folder of articles, found nothing"),
        (["page.html"], "page.html: expected files of .txt, "),
        (["empty.jsonl"], "expected articles, found no record"),
        (["empty.jsonl", "--output", "out"], "expected articles in empty.jsonl, found no record"),
        (["empty"], "empty: expected files of .txt, "),
        (["table.csv"], "table.csv: expected a column 'text', found a, b: name it with --text-column"),
        (["table.csv", "--output", "out"], "table.csv: expected a column 'text', found a, b: name it with"),
        (["news.jsonl", "--checkpoint", "arabert"], "arabert: expected a checkpoint folder or the name of a packaged"),
        (["news.jsonl", "--checkpoint", "labels"], "labels/yaqin.json: expected the labels confirmed, "),
        (["news.jsonl", "--checkpoint", "onnx"], "onnx/onnx/model_int8.onnx: expected an ONNX graph, found a broken"),
        (["news.jsonl", "--checkpoint", "tokenizer"], "tokenizer/tokenizer.json: expected a tokenizer, found a broken"),
        (["news.jsonl", "--checkpoint", "empty"], "empty: expected yaqin.json in the folder of a checkpoint"),
        (["news.jsonl", "--engine", "torch"], "holds the int8 ONNX graph only and no heads.safetensors: use --engine"),
        (["news.jsonl", "--engine", "torch", "--output", "out"], "holds the int8 ONNX graph only and no heads"),
        (["news.jsonl", "--engine", "torch", "--workers", "2", "--output", "out"], "holds the int8 ONNX graph only"),
        (["news.jsonl", "--precision", "fp32"], "holds the int8 ONNX graph only and no onnx/model.onnx"),
        (["news.jsonl", "--workers", "2"], "--format, --append, --report, --shard and --workers need --output DIR"),
        (["news.jsonl", "--shard", "3/2", "--output", "out"], "--shard: expected I/N with 1 ≤ I ≤ N, found '3/2'"),
        (["news.jsonl", "--shard", "²/2", "--output", "out"], "--shard: expected I/N with 1 ≤ I ≤ N, found '²/2'"),
        (["news.jsonl", "--output", "page.html"], "page.html: expected to write there, found: File exists"),
        (["news.jsonl", "--output", "labels"], "labels: expected an empty folder or one of yaqin's, found other files"),
        (["news.jsonl", "--output", "out", "--append", "--shard", "1/2"], "expected --append or --shard, found both"),
        (["news.jsonl", "--output", "out", "--format", "csv", "--report", "p.html"], "--report: expected --format"),
    ],
)
def test_a_mistake_is_one_line_on_standard_error_and_the_code_is_2(
    yaqin: Run, news: Path, tiny_packed: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], reason: str
) -> None:
    monkeypatch.chdir(news.parent)
    news.rename("news.jsonl")
    for name in ("page.html", "empty.jsonl"):
        Path(name).touch()
    Path("empty").mkdir()
    Path("table.csv").write_text("a,b\n1,2\n")
    for name, file in (("labels", "yaqin.json"), ("onnx", "onnx/model_int8.onnx"), ("tokenizer", "tokenizer.json")):
        shutil.copytree(tiny_packed, name)
        damaged = Path(name, file).read_bytes().replace(b"hedged", b"guess") if name == "labels" else b"\x08\x00junk"
        Path(name, file).write_bytes(damaged)
    result = yaqin("tag", *arguments)
    assert (result.code, result.out) == (2, b"")
    assert reason in one_line(result.err)
    assert not Path("out").exists()


@pytest.mark.parametrize(
    "arguments", [["tag"], ["tagg"], ["tag", "a", "--engine", "tf"], ["tag", "a", "--workers", "0"], ["tag", "a", "-x"]]
)
def test_misused_options_are_a_mistake_too(yaqin: Run, arguments: list[str]) -> None:
    result = yaqin(*arguments)
    assert (result.code, result.out) == (2, b"")
    assert "Traceback" not in result.err


def test_another_run_in_the_folder_is_refused(yaqin: Run, news: Path, tmp_path: Path) -> None:
    yaqin("tag", news, "--output", tmp_path / "out")
    result = yaqin("tag", news, "--output", tmp_path / "out", "--withhold", "0.1", "--format", "csv")
    assert result.code == 2
    assert "holds another run; different: options. Choose another folder" in one_line(result.err)


def test_a_bug_keeps_its_traceback(yaqin: Run, news: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_tag_to_stdout", lambda *_: {}["bug"])
    with pytest.raises(KeyError, match="bug"):
        yaqin("tag", news)


# A process of its own.


def test_inference_loads_nothing_of_the_training_stack(process: Run, news: Path, tiny_packed: Path) -> None:
    check = (
        "import atexit, sys, yaqin.inference.cli\n"
        f"def loaded(banned={BANNED}): print(sorted(banned & sys.modules.keys()), file=sys.stderr)\n"
        f"loaded({BANNED | {'pydantic'}})\n"  # typer loads it to read the command line
        "atexit.register(loaded)"
    )
    child = process("tag", news, "--checkpoint", tiny_packed, setup=check)
    out, err = child.communicate(timeout=240)
    assert (child.returncode, err) == (0, b"[]\n[]\n")
    assert len(out.splitlines()) > len(ARTICLES)


def test_help_names_the_commands_and_the_options(process: Run) -> None:
    children = [process("--help"), process("tag", "--help"), process("--version")]
    commands, options, version = (child.communicate(timeout=240)[0].decode() for child in children)
    assert [child.returncode for child in children] == [0, 0, 0]
    for command in ("demo", "tag", "train", "evaluate", "export", "report", "hydrate", "encoder"):
        assert f"\n  {command} " in commands
    for option in (
        *("--output", "--checkpoint", "--engine", "--precision", "--format", "--text-column", "--title-column"),
        *("--id-column", "--outlet-column", "--date-column", "--workers", "--shard", "--sentences", "--append"),
        *("--withhold", "--report"),
    ):
        assert option in options
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", version)


def test_warnings_are_lines_on_standard_error(process: Run, tmp_path: Path, tiny_packed: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "in" / "notes.md").touch()
    child = process("tag", "in", "--checkpoint", tiny_packed)
    out, err = child.communicate(timeout=240)
    assert json.loads(out)["article_id"] == "a.jsonl:1"
    assert err.decode().splitlines() == [
        "yaqin: in: 1 files with other extensions were skipped",
        "yaqin: 1 records without an id were numbered file:line",
    ]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_says_so_and_goes_on_to_the_same_bytes(
    process: Run,
    yaqin: Run,
    news: Path,
    tmp_path: Path,
    tiny_packed: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    code: int,
) -> None:
    slow = (
        "import time\nfrom yaqin.inference import parts\ncommit = parts.commit\n"
        "parts.commit = lambda *a: (commit(*a), time.sleep(1))\n"
    )
    child = process("tag", news, "--output", "out", "--checkpoint", tiny_packed, setup=SMALL_PARTS + slow)
    wait_for(tmp_path / "out" / "part-00001", child)
    child.send_signal(number)
    out, err = child.communicate(timeout=240)
    assert (child.returncode, out) == (code, b"")
    assert "interrupted; what was finished in a folder is kept, the same command goes on" in one_line(err.decode())
    assert 2 <= len(list(tmp_path.glob("out/part-*"))) < 10
    monkeypatch.setattr(corpus, "PART_SIZE", 4)
    for folder in ("out", "undisturbed"):
        assert yaqin("tag", news, "--output", tmp_path / folder).code == 0
    assert content(tmp_path / "out") == content(tmp_path / "undisturbed")


def test_an_interruption_does_not_wait_for_workers_and_leaves_none(
    process: Run, news: Path, tmp_path: Path, tiny_packed: Path
) -> None:
    slow = (
        "import time\nread = corpus.read_records\ndef slow(*a, **k):\n"
        "    for n, r in enumerate(read(*a, **k)):\n        time.sleep(60 if n > 9 else 0)\n        yield r\n"
        "corpus.read_records = slow\n"
    )
    arguments = ["tag", news, "--output", "out", "--workers", 2, "--checkpoint", tiny_packed]
    child = process(*arguments, setup=SMALL_PARTS + slow, start_new_session=True)
    wait_for(tmp_path / "out" / "part-00001", child)
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does
    out, err = child.communicate(timeout=50)
    assert (child.returncode, out) == (130, b"")
    assert "interrupted" in one_line(err.decode())
    with pytest.raises(ProcessLookupError):
        for _ in range(500):  # the last to leave is Python's tracker of resources
            os.killpg(child.pid, 0)
            time.sleep(0.02)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_standard_output_is_a_mistake(process: Run, news: Path, tiny_packed: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        child = process("tag", news, "--checkpoint", tiny_packed, stdout=full)
        _, err = child.communicate(timeout=240)
    assert child.returncode == 2
    assert "No space left on device" in one_line(err.decode())


def test_a_reader_that_has_had_enough_is_no_mistake(process: Run, news: Path, tiny_packed: Path) -> None:
    lines = [article | {"id": f"{article['id']}-{i}"} for i in range(12) for article in ARTICLES]
    news.write_text("".join(json.dumps(line) + "\n" for line in lines))
    child = process("tag", news, "--checkpoint", tiny_packed)
    assert child.stdout.readline().startswith(b'{"article_id": "a0-0"')
    child.stdout.close()
    assert child.stderr.read() == b""
    assert child.wait(timeout=240) == 0


def test_the_installed_command_is_this_one() -> None:
    command = Path(sys.executable).with_name("yaqin")
    if not command.exists():
        pytest.skip("the tests run from a tree that is not installed")
    run = subprocess.run([command, "tag", "nowhere"], capture_output=True, text=True, timeout=240, check=False)
    assert run.returncode == 2
    assert "nowhere: expected a file or folder of articles, found nothing" in one_line(run.stderr)
