"""A lock between processes: shared for those who add objects, exclusive for one who removes some.

flock(2) on a file that stays: the kernel frees it when the process ends, however it ends.
The text in the file names the holder for people; it decides nothing.

Limits: local file systems, and network ones which carry flock over.  A process that forks shares
its locks with its children.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

from pvc_store import atomic
from pvc_store.errors import LockedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLDER_BYTES = 400
_PAUSE_SECONDS = 0.05


@contextlib.contextmanager
def hold(path: Path, *, exclusive: bool, wait: float = 0.0, holder: str = "") -> Iterator[None]:
    """Hold the lock file `path` while the block runs.

    Args:
        path: the lock file; it is created if need be and never removed.
        exclusive: whether nobody else may hold it meanwhile.
        wait: seconds to wait for the others.
        holder: written into the file for people, when the lock is exclusive.

    Raises:
        LockedError: others still hold it after `wait` seconds.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _acquire(fd, path, exclusive=exclusive, wait=wait)
        os.ftruncate(fd, 0)  # a holder that was killed may still stand there
        if exclusive:
            atomic.write_all(fd, holder.encode(errors="backslashreplace"), 0)
        try:
            yield
        finally:
            if exclusive:
                os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def holder_of(path: Path) -> str | None:
    """The text in a lock file that is held exclusively now; None if it is not."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(fd, HOLDER_BYTES, 0).decode(errors="replace")
    finally:
        os.close(fd)
    return None


def _acquire(fd: int, path: Path, *, exclusive: bool, wait: float) -> None:
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                found = os.pread(fd, HOLDER_BYTES, 0).decode(errors="replace")
                raise LockedError(str(path), found) from None
            time.sleep(_PAUSE_SECONDS)
        else:
            return
