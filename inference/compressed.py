"""Files, compressed or not: one that is cut off says so on reading and never passes for a whole one on writing."""

import gzip
import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from yaqin.inference.errors import YaqinError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

STANDARD_INPUT = "-"
BROKEN = (EOFError, gzip.BadGzipFile, zlib.error, zstd.ZstdError)
"""What reading a broken or cut off compressed file raises."""


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file, or standard input, for reading its uncompressed bytes."""
    if str(path) == STANDARD_INPUT:
        return sys.stdin.buffer
    if path.suffix == ".gz":
        return gzip.open(path)  # type: ignore[return-value]
    if path.suffix == ".zst":
        return zstd.open(path)  # type: ignore[return-value]
    return path.open("rb")


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the number and bytes of every line that is not blank.

    Raises:
        YaqinError: The file is missing, cannot be read or is broken.
    """
    try:
        with open_bytes(path) as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line
    except (OSError, *BROKEN) as error:
        found = getattr(error, "strerror", None) or error
        raise YaqinError(f"{path}: expected a readable label file, found: {found}") from error


@contextmanager
def written_whole(path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """Open a file that takes its name when all is written; until then, and on any error, the old one stays."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as raw:
            if path.suffix == ".gz":  # no name and no time inside: equal rows, equal bytes
                with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
                    yield packed
            else:
                yield raw
        beside.replace(path)
    except OSError as error:
        raise YaqinError(f"{path}: expected a place to write, found: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            beside.unlink()
