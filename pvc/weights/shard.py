"""One safetensors file: its size, its header, and where its tensors lie.

Limits: a header has at most HEADER_LIMIT bytes, as in the safetensors library.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.weights.errors import UnreadableError
from pvc.weights.fingerprint import open_stamped
from pvc.weights.header import LENGTH_BYTES, HeaderError, TensorPlace, placements

if TYPE_CHECKING:
    from pathlib import Path

    from pvc.weights.fingerprint import Stamp

HEADER_LIMIT = 100_000_000


@dataclass(frozen=True, slots=True)
class Shard:
    """One safetensors file of a checkpoint.

    Attributes:
        path: relative to the checkpoint's directory, in POSIX form.
        header: the header's bytes as in the file, without the length before them.
        size: bytes of the file.
        names: its tensors, in the order of their bytes.
        apart: whether its tensors are named by path and name; see `pvc_store.layout`.
    """

    path: str
    header: bytes
    size: int
    names: tuple[str, ...]
    apart: bool = False


def read_shard(
    path: Path, file: str, stamp: Stamp, *, apart: bool = False
) -> tuple[Shard, tuple[TensorPlace, ...]]:
    """Read a file's header, and check it against the file's size.

    Args:
        path: the safetensors file.
        file: what the shard and the places are to call it.
        stamp: the stamp that the file had.
        apart: whether its tensors are to be named by `file` and name.

    Returns:
        The shard, and the places of its tensors in the order of their bytes.

    Raises:
        HeaderError: the file breaks the format.
        ChangedError: the file no longer has the stamp.
        UnreadableError: the file cannot be read.
    """
    fd = open_stamped(path, stamp)
    try:
        header = _read_header(fd, stamp.size, path)
    except OSError as error:
        raise UnreadableError(path, str(error.strerror)) from error
    finally:
        os.close(fd)
    places = placements(header, file, path, apart=apart)
    expected = LENGTH_BYTES + len(header) + sum(place.nbytes for place in places)
    if stamp.size != expected:
        raise _wrong_size(path, stamp.size, expected)
    names = tuple(place.name for place in places)
    return Shard(file, header, stamp.size, names, apart), places


def _read_header(fd: int, size: int, path: Path) -> bytes:
    if size < LENGTH_BYTES:
        raise HeaderError(path, f"it has {size} bytes, too few to state a header's length")
    length = int.from_bytes(os.pread(fd, LENGTH_BYTES, 0), "little")
    if length > HEADER_LIMIT:
        raise HeaderError(path, f"a header of {length} bytes exceeds {HEADER_LIMIT}")
    if length > size - LENGTH_BYTES:
        raise HeaderError(path, f"a header of {length} bytes exceeds its {size} bytes")
    header = os.pread(fd, length, LENGTH_BYTES)
    if len(header) != length:
        raise _wrong_size(path, LENGTH_BYTES + len(header), LENGTH_BYTES + length)
    return header


def _wrong_size(path: Path, found: int, expected: int) -> HeaderError:
    return HeaderError(path, f"it has {found} bytes, but {expected} are expected")
