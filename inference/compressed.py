"""Opening input files, compressed or not: a file that is cut off says so and never passes for a whole one."""

import gzip
import sys
import zlib
from pathlib import Path
from typing import IO

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
