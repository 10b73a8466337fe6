"""Opening input files, compressed or not: a file that is cut off says so and never passes for a whole one."""

import gzip
import sys
import zlib
from collections.abc import Iterator
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
