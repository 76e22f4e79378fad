"""The header of a safetensors file: read strictly, and from its bytes alone.

    file   = length u64 little-endian | header | data
    header = JSON object, perhaps followed by spaces: "__metadata__", and for each tensor
             name -> {"dtype": text, "shape": [dimensions], "data_offsets": [begin, end]}

The offsets count from the first byte of the data.  Tensors lie in the data without hole or overlap,
in any order.  The header's bytes are kept as they are, so that length, header and the bytes of the
tensors in file order give the same file again.

Source: https://huggingface.co/docs/safetensors (format).

Limits: a file has at most FILE_LIMIT bytes; a tensor has at most DIMENSION_LIMIT dimensions, and a
name of 1 to NAME_LIMIT bytes of UTF-8 without control characters.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import TypeGuard

from safetensors import SafetensorError, safe_open

from pvc.strict_json import JsonError, RepeatedKeyError, parse
from pvc.weights.errors import CheckpointError, UnreadableError
from pvc_store.kinds import KIND_BY_NAME, Kind

LENGTH_BYTES = 8
FILE_LIMIT = 1 << 44
NAME_LIMIT = 1024
DIMENSION_LIMIT = 255

KNOWN_HEADERS = 256
"""So many headers' places are kept in memory."""

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

_METADATA = "__metadata__"
_FIELDS = {"dtype", "shape", "data_offsets"}


class HeaderError(CheckpointError):
    """A safetensors file or its header breaks the format; each way has its own subclass.

    Attributes:
        path: the safetensors file.
        detail: what was found and what was expected.
    """

    def __init__(self, path: Path, detail: str) -> None:
        self.path = path
        self.detail = detail
        super().__init__(f"{path} is not a valid safetensors file: {detail}.")


class HeaderJsonError(HeaderError):
    """The header is not JSON in UTF-8."""


class HeaderFormError(HeaderError):
    """The header is JSON, but not of the form that the format prescribes."""


class RepeatedTensorError(HeaderError):
    """The header holds one name more than once.

    Attributes:
        name: the repeated name.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        super().__init__(path, f"its header holds the name {name[:80]!r} more than once")


class TensorNameError(HeaderError):
    """A tensor name is empty, too long, or holds control characters.

    Attributes:
        name: the name.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        super().__init__(
            path,
            f"{name[:80]!r} cannot be a tensor name: 1 to {NAME_LIMIT} bytes without control "
            "characters are expected",
        )


class UnknownDtypeError(HeaderError):
    """A tensor has a dtype that pvc does not know.

    Attributes:
        name: the tensor.
        dtype: its dtype as the header spells it.
    """

    def __init__(self, path: Path, name: str, dtype: str) -> None:
        self.name = name
        self.dtype = dtype
        super().__init__(path, f"tensor {name!r} has the unknown dtype {dtype[:80]!r}")


class DimensionsError(HeaderError):
    """A tensor has more dimensions than pvc can store.

    Attributes:
        name: the tensor.
        found: its number of dimensions.
    """

    def __init__(self, path: Path, name: str, found: int) -> None:
        self.name = name
        self.found = found
        super().__init__(
            path, f"tensor {name!r} has {found} dimensions, more than {DIMENSION_LIMIT}"
        )


class TensorSizeError(HeaderError):
    """The bytes of a tensor do not fit its dtype and shape.

    Attributes:
        name: the tensor.
        found: bytes that the header gives it.
        expected: bytes that dtype and shape ask for, rounded up.
    """

    def __init__(self, path: Path, place: TensorPlace) -> None:
        self.name = place.name
        self.found = place.nbytes
        self.expected = place.kind.bytes_of(place.shape)
        whole = prod(place.shape) * place.kind.bits % 8 == 0
        super().__init__(
            path,
            f"tensor {place.name!r} of dtype {place.kind.name} and shape {list(place.shape)} has "
            f"{self.found} bytes, but "
            + (f"{self.expected} are expected" if whole else "its elements fill no whole bytes"),
        )


class TensorOffsetError(HeaderError):
    """The data has a hole, or tensors overlap.

    Attributes:
        name: the tensor that starts at the wrong byte.
        found: byte of the file at which it starts.
        expected: byte of the file at which the tensor before it ends.
    """

    def __init__(self, path: Path, name: str, found: int, expected: int) -> None:
        self.name = name
        self.found = found
        self.expected = expected
        super().__init__(
            path,
            f"tensor {name!r} starts at byte {found}, but the data before it ends at {expected}",
        )


class FileLimitError(HeaderError):
    """The header describes a larger file than pvc reads.

    Attributes:
        found: bytes that the file would have.
    """

    def __init__(self, path: Path, found: int) -> None:
        self.found = found
        super().__init__(path, f"its header asks for {found} bytes, more than {FILE_LIMIT}")


class HeaderRejectedError(HeaderError):
    """The safetensors library refuses a header that pvc finds no fault with."""


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """Where a checkpoint holds a tensor.

    Attributes:
        name: tensor name.
        kind: numeric kind of its elements.
        shape: its dimensions; () for a single number.
        file: the safetensors file, relative to the checkpoint's directory, in POSIX form.
        offset: first byte of the tensor in that file.
        nbytes: bytes of the tensor, stored densely.
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]
    file: str
    offset: int
    nbytes: int


def shard_prefix(header: bytes) -> bytes:
    """The bytes with which a safetensors file of this header begins, up to its data."""
    return len(header).to_bytes(LENGTH_BYTES, "little") + header


def placements(header: bytes, file: str, path: Path | None = None) -> tuple[TensorPlace, ...]:
    """The places of a file's tensors in file order, from its header alone.

    Args:
        header: the header's bytes, without the length before them.
        file: what the places are to call the file.
        path: what errors are to call it, if anything else.

    Raises:
        HeaderError: the header breaks the format; one subclass for each way.
    """
    return _placements(header, _Named(file, path or Path(file)))


@dataclass(frozen=True, slots=True)
class _Named:
    """What places call a file, and what errors do: places are the same for all paths."""

    file: str
    path: Path = field(compare=False)


@lru_cache(KNOWN_HEADERS)  # results of training, and states of a target, share their headers
def _placements(header: bytes, named: _Named) -> tuple[TensorPlace, ...]:
    path = named.path
    entries = _entries(header, path)
    start = LENGTH_BYTES + len(header)
    places = [_place(name, entry, named.file, start, path) for name, entry in entries.items()]
    places.sort(key=lambda place: (place.offset, place.nbytes))
    end = start
    for place in places:
        if place.offset != end:
            raise TensorOffsetError(path, place.name, place.offset, end)
        end += place.nbytes
    if end > FILE_LIMIT:
        raise FileLimitError(path, end)
    _confirm(header, end, path)
    return tuple(places)


def _entries(header: bytes, path: Path) -> dict[str, object]:
    """The tensor entries of a header, without its metadata."""
    try:
        document = parse(header)
    except RepeatedKeyError as error:
        raise RepeatedTensorError(path, error.key) from error
    except JsonError as error:
        raise HeaderJsonError(path, f"its header is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise HeaderFormError(path, "its header is not a JSON object")
    metadata = document.pop(_METADATA, None)
    if metadata is not None and not _is_text_map(metadata):
        raise HeaderFormError(path, f"its {_METADATA} does not map texts to texts")
    return document


def _place(name: str, entry: object, file: str, start: int, path: Path) -> TensorPlace:
    """One tensor's place, from its header entry; `start` is the first byte of the data."""
    if _UNPRINTABLE.search(name) or not 0 < len(name.encode()) <= NAME_LIMIT:
        raise TensorNameError(path, name)
    if not isinstance(entry, dict) or entry.keys() != _FIELDS:
        raise HeaderFormError(path, f"tensor {name!r} has not exactly the fields {sorted(_FIELDS)}")
    dtype, shape, span = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or not _is_naturals(shape) or not _is_naturals(span):
        raise HeaderFormError(path, f"tensor {name!r} has a field of the wrong type")
    if len(span) != 2 or span[0] > span[1]:
        raise HeaderFormError(path, f"tensor {name!r} has the impossible data_offsets {span[:3]}")
    if len(shape) > DIMENSION_LIMIT:
        raise DimensionsError(path, name, len(shape))
    if dtype not in KIND_BY_NAME:
        raise UnknownDtypeError(path, name, dtype)
    begin, end = span
    place = TensorPlace(name, KIND_BY_NAME[dtype], tuple(shape), file, start + begin, end - begin)
    if prod(shape) * place.kind.bits != 8 * place.nbytes:
        raise TensorSizeError(path, place)
    return place


def _is_naturals(value: object) -> TypeGuard[list[int]]:
    # bool is an int in Python, but not in JSON.
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _is_text_map(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


def _confirm(header: bytes, size: int, path: Path) -> None:
    """Let the safetensors library judge the header.

    The library maps what it reads, and a mapped file that shrinks kills the process.  So it is
    given a file in memory that begins with the header and has the right size, but no data.
    """
    fd = os.memfd_create("pvc-header", os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(shard_prefix(header))
        os.ftruncate(fd, size)
        with safe_open(f"/proc/self/fd/{fd}", framework="numpy"):
            pass
    except SafetensorError as error:
        raise HeaderRejectedError(path, f"the safetensors library says: {error}") from error
    except OSError as error:
        raise UnreadableError(path, f"its header cannot be checked ({error})") from error
    finally:
        os.close(fd)
