"""Reading the bytes of a checkpoint, by position and into the caller's memory.

Files are never mapped: a mapped file that shrinks kills the process, a read one is an error.  A
descriptor is opened only for the very file that the checkpoint saw, so replaced files are noticed.

Limits: that a file was written to in place while it was read shows only afterwards, in
`Checkpoint.check_unchanged`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, Self

from pvc.weights.errors import ChangedError, UnreadableError
from pvc.weights.fingerprint import open_stamped

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Buffer

    from pvc.weights.checkpoint import Checkpoint
    from pvc.weights.header import TensorPlace

MAX_OPEN = 64


@dataclass(slots=True)
class _OpenFile:
    fd: int
    users: int = 0


class CheckpointReader:
    """Reads tensors and files of one checkpoint; any number of threads may share it.

    It keeps the last used files open, MAX_OPEN of them unless more are being read from at once.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._files: dict[str, _OpenFile] = {}  # the last used one comes last
        self._lock = Lock()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; one that a thread is reading from is closed when it is done."""
        with self._lock:
            self._closed = True
            self._close_idle(keep=0)

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
        self.read_file_into(place.file, place.offset + start, view)

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
        view = _view(out)
        if not view.nbytes:
            return
        file = self._acquire(path)
        try:
            self._fill(file.fd, path, start, view.cast("B"))
        finally:
            self._release(file)

    def _fill(self, fd: int, path: str, start: int, rest: memoryview) -> None:
        while rest:
            try:
                count = os.preadv(fd, [rest], start)
            except OSError as error:
                full = self._checkpoint.directory / path
                raise UnreadableError(full, str(error.strerror)) from error
            if not count:
                full = self._checkpoint.directory / path
                raise ChangedError(full, f"it ends at byte {start} while more was to be read")
            rest = rest[count:]
            start += count

    def _acquire(self, path: str) -> _OpenFile:
        """An open file, which stays open until it is released, whatever other threads do."""
        with self._lock:
            if self._closed:
                raise ValueError("the reader is closed")
            file = self._files.pop(path, None)
            if file is None:
                stamp = self._checkpoint.fingerprint[path]
                file = _OpenFile(open_stamped(self._checkpoint.directory / path, stamp))
            self._files[path] = file
            file.users += 1
            return file

    def _release(self, file: _OpenFile) -> None:
        with self._lock:
            file.users -= 1
            self._close_idle(keep=0 if self._closed else MAX_OPEN)

    def _close_idle(self, keep: int) -> None:
        """Close the files used longest ago that no thread reads from, until `keep` are left."""
        excess = len(self._files) - keep
        if excess <= 0:
            return
        idle = [path for path, file in self._files.items() if not file.users]
        for path in idle[:excess]:
            os.close(self._files.pop(path).fd)


def _view(out: Buffer | NDArray[Any]) -> memoryview:
    return memoryview(out)  # type: ignore[arg-type]  # numpy's stubs lack the protocol before 3.12
