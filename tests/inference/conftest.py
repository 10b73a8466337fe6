"""A checkpoint of a few KB, and the command line within this process and in its own."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from yaqin.inference import cli
from yaqin.inference.tagger import Tagger

TINY = Path(__file__).parent / "tiny"  # make_tiny.py wrote it
HOSTILE = {
    "lone surrogates": "ذكر \ud800 المصدر\udfff أن الجسر أغلق.",
    "NUL": "أعلن\x00 الوزير\x00 موعد الافتتاح. ثم غادر\x00.",
    "bidi controls": "\u202eقال المدير\u202c إن \u2066المصنع\u2069 عاد. \u200fولم يزد\u200e.",
    "10,000 words": "كلمة " * 9_999 + "أخيرة.",
    "no space": "ا" * 50_000,
    "line breaks": "خبر أول.\r\nخبر ثان\u2028خبر ثالث\x85\x0bخبر\rرابع.",
    "emoji and joiners": "👩‍👩‍👧 قال\u200cوا إن 🇱🇧 فازت. تم\u0640\u0640\u0640ت.",
    "stops only": "... !!! ؟؟؟ »»",
}


@pytest.fixture(scope="session")
def tiny_packed() -> Path:
    return TINY


@pytest.fixture
def tiny_copy(tmp_path: Path) -> Path:
    """One that a test may damage."""
    return shutil.copytree(TINY, tmp_path / "checkpoint")


@pytest.fixture(scope="session")
def tiny() -> Tagger:
    return Tagger.load(TINY, threads=1)


@pytest.fixture(params=HOSTILE.values(), ids=HOSTILE.keys())
def hostile(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@dataclass
class Result:
    """What a command left: its exit code, standard output and standard error."""

    code: int
    out: bytes
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.decode("utf-8").split("\n")[:-1]]


@pytest.fixture
def yaqin(
    monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Iterator[Callable[..., Result]]:
    """Run the command line in this process, always with the tiny checkpoint for `tag`."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr(cli, "entry_points", lambda group: [])

    def run(*arguments: object, stdin: bytes = b"") -> Result:
        chosen = [] if "--checkpoint" in arguments or arguments[:1] != ("tag",) else ["--checkpoint", str(TINY)]
        monkeypatch.setattr(sys, "argv", ["yaqin", *map(str, arguments), *chosen])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsysbinary.readouterr()
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        out, err = capsysbinary.readouterr()
        return Result(int(exit_.value.code or 0), out, err.decode())

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start the command line in a process of its own; `setup` is Python that runs first."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: object, setup: str = "pass", **options: Any) -> subprocess.Popen[bytes]:
        code = f"{setup}\nif __name__ == '__main__':\n    from yaqin.inference.cli import main\n    main()\n"
        command = [sys.executable, "-c", code, *map(str, arguments)]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        started.append(subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, **pipes))
        return started[-1]

    yield start
    for child in started:
        if child.poll() is None:
            child.kill()
        child.communicate()


@pytest.fixture
def json_lines(tmp_path: Path) -> Callable[..., Path]:
    """Write records as JSON lines."""

    def write(records: list[dict[str, Any]], name: str = "articles.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        return path

    return write
