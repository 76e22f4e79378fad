"""Memory that processes share, sealed so that the kernel guarantees who can write to it.

Both sorts are memfds: they have no name, so nothing is left of them when their processes are gone,
and they count as the memory of the process that made them, whatever the size of /dev/shm.

    weights   written by the process that made them and by no other: F_SEAL_FUTURE_WRITE
    stage     written once, and then never again: F_SEAL_WRITE

Neither can shrink, so that reading a mapping of it cannot fail.

Limits: Linux 5.1 or later.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import TYPE_CHECKING

import numpy as np

from pvc.errors import PvcError
from pvc.wording import size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]

F_SEAL_FUTURE_WRITE = 0x0010
_SIZE = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
WEIGHTS_SEALS = _SIZE | F_SEAL_FUTURE_WRITE
STAGE_SEALS = _SIZE | fcntl.F_SEAL_WRITE


class RoomError(PvcError):
    """There is too little memory to share.

    Attributes:
        what: its purpose.
        nbytes: how much.
        reason: what the system says.
    """

    def __init__(self, what: str, nbytes: int, reason: str) -> None:
        self.what = what
        self.nbytes = nbytes
        self.reason = reason
        super().__init__(f"There is no memory for {what}, {size(nbytes)}: {reason}.")


class SealError(PvcError):
    """Memory that came from another process lacks a seal, or has another size.

    Attributes:
        what: which memory.
        detail: what was found and what was expected.
    """

    def __init__(self, what: str, detail: str) -> None:
        self.what = what
        self.detail = detail
        super().__init__(f"{what} cannot be used: {detail}.")


def create(what: str, nbytes: int) -> int:
    """A descriptor of new memory, not reserved yet.

    Raises:
        RoomError: there is none.
    """
    try:
        fd = os.memfd_create(f"pvc {what}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError as error:
        raise RoomError(what, nbytes, str(error.strerror)) from error
    try:
        os.fchmod(fd, 0o600)
        os.ftruncate(fd, nbytes)
    except OSError as error:
        os.close(fd)
        raise RoomError(what, nbytes, str(error.strerror)) from error
    return fd


def reserve(fd: int, offset: int, nbytes: int, what: str) -> None:
    """Make sure now that memory is there, so that writing to it cannot fail.

    Raises:
        RoomError: there is too little.
    """
    if not nbytes:
        return
    try:
        os.posix_fallocate(fd, offset, nbytes)
    except OSError as error:
        raise RoomError(what, nbytes, str(error.strerror)) from error


def seal(fd: int, seals: int) -> None:
    """Let the kernel refuse what `seals` name, for ever."""
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals | fcntl.F_SEAL_SEAL)


def read_only(fd: int) -> int:
    """Another descriptor of the same memory, which cannot write."""
    return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)


def map_writable(fd: int, nbytes: int) -> mmap.mmap:
    """Map memory that this process made.

    Raises:
        RoomError: there is no room in the address space.
    """
    try:
        return mmap.mmap(fd, nbytes, mmap.MAP_SHARED)
    except OSError as error:
        raise RoomError("shared weights", nbytes, str(error.strerror)) from error


def map_sealed(fd: int, nbytes: int, seals: int, what: str) -> Bytes:
    """Map memory that came from another process, for reading.

    Raises:
        SealError: it lacks a seal, or has another size.
        RoomError: there is no room in the address space.
    """
    try:
        found = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError:
        raise SealError(what, "it is no memory that can be sealed") from None
    if found & seals != seals:
        raise SealError(what, f"its seals are {found:#x}, and {seals:#x} are expected")
    size = os.fstat(fd).st_size
    if size != nbytes:
        raise SealError(what, f"it has {size} bytes, and {nbytes} are expected")
    if not nbytes:
        return np.empty(0, np.uint8)
    try:
        mapped = mmap.mmap(fd, nbytes, mmap.MAP_SHARED, mmap.PROT_READ)
    except OSError as error:
        raise RoomError(what[0].lower() + what[1:], nbytes, str(error.strerror)) from error
    return np.frombuffer(mapped, np.uint8)
