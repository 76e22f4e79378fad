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
from dataclasses import dataclass, field, replace
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
    """A safetensors file or its header breaks the format; `detail` says how."""

    def __init__(self, path: Path, detail: str) -> None:
        super().__init__(path, f"{path} is not a valid safetensors file: {detail}.")


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """Where a checkpoint holds a tensor.

    Attributes:
        name: tensor name; of a file that stands apart, its path, a slash and the name in it.
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


def placements(
    header: bytes, file: str, path: Path | None = None, *, apart: bool = False
) -> tuple[TensorPlace, ...]:
    """The places of a file's tensors in file order, from its header alone.

    Args:
        header: the header's bytes, without the length before them.
        file: what the places are to call the file.
        path: what errors are to call it, if anything else.
        apart: whether the tensors are named by file and name, not by name alone.

    Raises:
        HeaderError: the header breaks the format.
    """
    return _placements(header, _Named(file, path or Path(file), apart))


@dataclass(frozen=True, slots=True)
class _Named:
    """What places call a file, and what errors do: places are the same for all paths."""

    file: str
    path: Path = field(compare=False)
    apart: bool


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
            raise HeaderError(
                path,
                f"tensor {place.name!r} starts at byte {place.offset}, but the data before it ends "
                f"at {end}",
            )
        end += place.nbytes
    if end > FILE_LIMIT:
        raise HeaderError(path, f"its header asks for {end} bytes, more than {FILE_LIMIT}")
    _confirm(header, end, path)
    if named.apart:
        return tuple(replace(one, name=f"{named.file}/{one.name}") for one in places)
    return tuple(places)


def _entries(header: bytes, path: Path) -> dict[str, object]:
    """The tensor entries of a header, without its metadata."""
    try:
        document = parse(header)
    except RepeatedKeyError as error:
        detail = f"its header holds the name {error.key[:80]!r} more than once"
        raise HeaderError(path, detail) from error
    except JsonError as error:
        raise HeaderError(path, f"its header is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise HeaderError(path, "its header is not a JSON object")
    metadata = document.pop(_METADATA, None)
    if metadata is not None and not _is_text_map(metadata):
        raise HeaderError(path, f"its {_METADATA} does not map texts to texts")
    return document


def _place(name: str, entry: object, file: str, start: int, path: Path) -> TensorPlace:
    """One tensor's place, from its header entry; `start` is the first byte of the data."""
    if _UNPRINTABLE.search(name) or not 0 < len(name.encode()) <= NAME_LIMIT:
        raise HeaderError(
            path,
            f"{name[:80]!r} cannot be a tensor name: 1 to {NAME_LIMIT} bytes without control "
            "characters are expected",
        )
    if not isinstance(entry, dict) or entry.keys() != _FIELDS:
        raise HeaderError(path, f"tensor {name!r} has not exactly the fields {sorted(_FIELDS)}")
    dtype, shape, span = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or not _is_naturals(shape) or not _is_naturals(span):
        raise HeaderError(path, f"tensor {name!r} has a field of the wrong type")
    if len(span) != 2 or span[0] > span[1]:
        raise HeaderError(path, f"tensor {name!r} has the impossible data_offsets {span[:3]}")
    if len(shape) > DIMENSION_LIMIT:
        detail = f"tensor {name!r} has {len(shape)} dimensions, more than {DIMENSION_LIMIT}"
        raise HeaderError(path, detail)
    if dtype not in KIND_BY_NAME:
        raise HeaderError(path, f"tensor {name!r} has the unknown dtype {dtype[:80]!r}")
    begin, end = span
    place = TensorPlace(name, KIND_BY_NAME[dtype], tuple(shape), file, start + begin, end - begin)
    bits = prod(shape) * place.kind.bits
    if bits != 8 * place.nbytes:
        expected = "its elements fill no whole bytes" if bits % 8 else f"{bits // 8} are expected"
        raise HeaderError(
            path,
            f"tensor {name!r} of dtype {dtype} and shape {shape} has {place.nbytes} bytes, but "
            + expected,
        )
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
        raise HeaderError(path, f"the safetensors library says: {error}") from error
    except OSError as error:
        raise UnreadableError(path, f"its header cannot be checked ({error})") from error
    finally:
        os.close(fd)
