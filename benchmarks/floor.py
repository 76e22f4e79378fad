"""What no program could beat: reading from the page cache, and writing with fsync."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PIECE = 1 << 20


def floor(sources: Sequence[Path], written: int, scratch: Path, threads: int) -> float:
    """Seconds to read all files of some directories, and then to write and fsync `written` bytes.

    Args:
        sources: directories; their files are read on several threads, 1 MiB at a time.
        written: bytes of one file.
        scratch: a directory for that file.
        threads: how many.
    """
    files = [file for source in sources for file in source.rglob("*") if file.is_file()]
    parts = [(file, part, threads) for file in files for part in range(threads)]
    began = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(_read, parts))
    _write(scratch / "floor", written)
    seconds = time.monotonic() - began
    (scratch / "floor").unlink()
    return seconds


def _read(job: tuple[Path, int, int]) -> None:
    """Read every `threads`-th piece of a file."""
    path, part, threads = job
    buffer = bytearray(PIECE)
    with path.open("rb", buffering=0) as file:
        for start in range(part * PIECE, os.fstat(file.fileno()).st_size, threads * PIECE):
            os.preadv(file.fileno(), [buffer], start)


def _write(path: Path, size: int) -> None:
    piece = os.urandom(PIECE)
    with path.open("wb", buffering=0) as file:
        for start in range(0, size, PIECE):
            file.write(piece[: size - start])
        os.fsync(file.fileno())
