"""Fingerprints of files: is a file still the one that was read before?

A stamp says what the file system knows about a file without reading it; a fingerprint holds one for
each file of a checkpoint.

Limits: two writes within one tick of the file system's clock (a few milliseconds) can leave the
same stamp.  Equal stamps are a reason to skip work, never a proof of equal content.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from pvc.weights.errors import ChangedError, UnreadableError

if TYPE_CHECKING:
    from pathlib import Path


class Stamp(NamedTuple):
    """What the file system knows about a file; symbolic links are followed.

    Attributes:
        size: bytes.
        mtime_ns: last change of the content, nanoseconds since 1970.
        inode: number of the file in its file system.
        ctime_ns: last change of content or metadata, nanoseconds since 1970.
    """

    size: int
    mtime_ns: int
    inode: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """The stamp in a file's status."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)

    def moved(self, status: os.stat_result) -> Stamp:
        """The stamp after a rename, which changes metadata; the same if content changed, too."""
        now = Stamp.of(status)
        return now if now[:3] == self[:3] else self


Fingerprint: TypeAlias = Mapping[str, Stamp]
"""Path relative to the checkpoint's directory, in POSIX form -> stamp."""


def stamp_now(path: Path) -> Stamp | None:
    """The stamp of a file as it is now, None if it is not there or out of reach."""
    try:
        return Stamp.of(path.stat())
    except OSError:
        return None


def open_stamped(path: Path, stamp: Stamp) -> int:
    """A descriptor for reading the very file that had this stamp; the caller closes it.

    Raises:
        ChangedError: the file is gone, or another one or another state of it is there.
        UnreadableError: the file cannot be opened.
    """
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError as error:
        raise ChangedError(path, "the file is gone") from error
    except OSError as error:
        raise UnreadableError(path, str(error.strerror)) from error
    found = Stamp.of(os.fstat(fd))
    if found != stamp:
        os.close(fd)
        raise ChangedError(path, f"it was {_words(stamp)}, and is {_words(found)}")
    return fd


def _words(stamp: Stamp) -> str:
    return f"inode {stamp.inode} of {stamp.size} bytes, changed at {stamp.ctime_ns} ns"
