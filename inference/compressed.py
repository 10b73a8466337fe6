"""Opening input files, compressed or not: a file that is cut off says so and never passes for a whole one."""

import gzip
import io
import sys
import zlib
from pathlib import Path
from typing import IO, Any

import zstandard

STANDARD_INPUT = "-"
BROKEN = (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError)
"""What reading a broken or cut off compressed file raises."""
_CHUNK = 1024  # compressed bytes: zstd makes at most 32 MB of them, so a bomb cannot fill the memory


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file, or standard input, for reading its uncompressed bytes."""
    if str(path) == STANDARD_INPUT:
        return sys.stdin.buffer
    if path.suffix == ".gz":
        return gzip.open(path)  # type: ignore[return-value]
    if path.suffix == ".zst":
        return io.BufferedReader(_ZstdFile(path))
    return path.open("rb")


class _ZstdFile(io.RawIOBase):
    """Reads frame after frame. zstandard's own reader takes a file that is cut off for one that ends there."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._data = self._output = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        while not self._output and (data := self._data or self._file.read(_CHUNK)):
            self._frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
            self._output = self._frame.decompress(data)
            self._data = b""
            if self._frame.eof:
                self._data, self._frame = self._frame.unused_data, None
        if not self._output and self._frame:
            raise EOFError("the file ends inside a frame")
        n = min(len(view), len(self._output))
        view[:n], self._output = self._output[:n], self._output[n:]
        return n

    def close(self) -> None:
        self._file.close()
        super().close()
