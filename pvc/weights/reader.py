"""Reading the bytes of a checkpoint, by position and into the caller's memory.

Files are never mapped: a mapped file that shrinks kills the process, a read one is an error.  A
descriptor is opened only for the very file that the checkpoint saw, so replaced files are noticed.

Limits: that a file was written to in place while it was read shows only afterwards, in
`Checkpoint.check_unchanged`.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

from pvc.weights.errors import ChangedError, UnreadableError
from pvc.weights.fingerprint import open_stamped

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from typing_extensions import Buffer

    from pvc.weights.checkpoint import Checkpoint
    from pvc.weights.header import TensorPlace

MAX_OPEN = 64


class _OpenFile:
    """A descriptor, closed as soon as nobody has it any more."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)


class CheckpointReader:
    """Reads tensors and files of one checkpoint; any number of threads may share it.

    It keeps the last used files open, MAX_OPEN of them unless more are being read from at once.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._closed = False
        self._file = lru_cache(MAX_OPEN)(self._open)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; one that a thread is reading from is closed when it is done."""
        self._closed = True
        self._file.cache_clear()

    def read_into(self, place: TensorPlace, start: int, out: Buffer | NDArray[Any]) -> None:
        """Fill `out` with the bytes of a tensor from byte `start` on.

        Args:
            place: a tensor of this checkpoint.
            start: first byte, counted from the tensor's first.
            out: contiguous writable memory, not beyond the tensor's end.

        Raises:
            ChangedError: the file is not the one that was opened, or ended early.
            UnreadableError: the file cannot be read.
            ValueError: the bytes are not all in the tensor, or the reader is closed.
        """
        view = _view(out)
        if not 0 <= start <= start + view.nbytes <= place.nbytes:
            raise ValueError(
                f"{place.name!r} has {place.nbytes} bytes, not {start} to {start + view.nbytes}"
            )
        self._fill(place.file, place.offset + start, view)

    def read_file_into(self, path: str, start: int, out: Buffer | NDArray[Any]) -> None:
        """Fill `out` with the bytes of a file of the checkpoint from byte `start` on.

        Args:
            path: relative to the checkpoint's directory, a shard's or one of `files`.
            start: first byte.
            out: contiguous writable memory.

        Raises:
            ChangedError: the file is not the one that was opened, or ended early.
            UnreadableError: the file cannot be read.
            ValueError: the reader is closed.
        """
        self._fill(path, start, _view(out))

    def _fill(self, path: str, start: int, view: memoryview) -> None:
        if not view.nbytes:
            return
        file, rest = self._file(path), view.cast("B")
        while rest:
            try:
                count = os.preadv(file.fd, [rest], start)
            except OSError as error:
                raise UnreadableError(self._full(path), str(error.strerror)) from error
            if not count:
                detail = f"it ends at byte {start} while more was to be read"
                raise ChangedError(self._full(path), detail)
            rest = rest[count:]
            start += count

    def _open(self, path: str) -> _OpenFile:
        if self._closed:
            raise ValueError("the reader is closed")
        return _OpenFile(open_stamped(self._full(path), self._checkpoint.fingerprint[path]))

    def _full(self, path: str) -> Path:
        return self._checkpoint.directory / path


def _view(out: Buffer | NDArray[Any]) -> memoryview:
    return memoryview(out)  # type: ignore[arg-type]  # numpy's stubs lack the protocol before 3.12
