"""Layouts: how a tree came as files, so that a checkout gives the same files back.

    content = count u32 | file*                                         sorted by path
    file    = path_length u16 | path utf-8 | sort u8 | body
    body    = header_length u32 | header                                sort 1: a safetensors file
            | header_length u32 | header                                sort 2: one standing apart
            | size u64 | BLAKE3 of the file 32 | block keys 16*         sort 0: any other file
    layout id = BLAKE3 of "PVCLAYT1" + content
    file      = "PVCLAYT1" | content, framed (see `frame`)

A safetensors file is its header and the tensors that the header places; its tensors are named in a
tree.  One that stands apart, in a subfolder, is no part of the model's own set of weights: the tree
names its tensors by its path, "2_Dense/model.safetensors/linear.weight".  The bytes of other files
(configuration, tokenizer) are stored as blocks of kind BYTES.

Limits: paths are relative, of ordinary parts, at most MAX_PATH_BYTES; headers at most
MAX_HEADER_BYTES, as in the safetensors format; MAX_CONTENT_BYTES of content (see `frame`).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from pvc_store.errors import FormatError
from pvc_store.frame import pack_frame, unpack_frame
from pvc_store.ids import ID_BYTES, KEY_BYTES, object_id
from pvc_store.reader import ByteReader
from pvc_store.tree import MAX_TENSOR_BYTES, block_count

if TYPE_CHECKING:
    from collections.abc import Iterable

MAGIC = b"PVCLAYT1"
MAX_HEADER_BYTES = 100_000_000
MAX_PATH_BYTES = 4096
MAX_PART_BYTES = 255

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_U16 = struct.Struct("<H")
_OTHER, _WEIGHTS, _APART = 0, 1, 2


class LayoutError(FormatError):
    """A layout contradicts itself."""


class LayoutIdError(FormatError):
    """A layout file does not contain the layout that it is named after."""


class PathError(FormatError):
    """A path of a layout could lead out of the directory, or is no plain path.

    Attributes:
        path: the path as it was found.
    """

    def __init__(self, where: str, path: str) -> None:
        self.path = path
        super().__init__(where, f"{path[:200]!r} is not a plain relative path")


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A safetensors file.

    Attributes:
        path: relative POSIX path.
        header: the header's bytes exactly as they stand in the file, without their length.
        apart: whether a tree names its tensors by path and name, not by name alone.
    """

    path: str
    header: bytes
    apart: bool = False


@dataclass(frozen=True, slots=True)
class OtherFile:
    """A file without tensors.

    Attributes:
        path: relative POSIX path.
        size: bytes of the file.
        digest: BLAKE3 of the file, 32 bytes.
        keys: keys of its blocks, 16 bytes each.
    """

    path: str
    size: int
    digest: bytes
    keys: bytes


class Layout:
    """An immutable list of files, in the order of their paths' UTF-8.

    Args:
        files: the files, in any order.
        where: what the layout is, for messages.

    Raises:
        PathError: a path is no plain relative path.
        LayoutError: a file contradicts itself, or two paths contradict each other.
    """

    def __init__(
        self, files: Iterable[WeightsFile | OtherFile], where: str = "A new layout"
    ) -> None:
        given = list(files)
        for file in given:
            check_path(file.path, where)
            _check_file(file, where)
        self.files = tuple(sorted(given, key=lambda file: file.path.encode()))
        _check_no_nesting([file.path for file in self.files], where)

    def __hash__(self) -> int:
        return hash(self.id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and self.id == other.id

    @property
    def weights(self) -> tuple[WeightsFile, ...]:
        """The safetensors files."""
        return tuple(file for file in self.files if isinstance(file, WeightsFile))

    @property
    def others(self) -> tuple[OtherFile, ...]:
        """The files without tensors."""
        return tuple(file for file in self.files if isinstance(file, OtherFile))

    @cached_property
    def _content(self) -> bytes:
        return _U32.pack(len(self.files)) + b"".join(map(_file_bytes, self.files))

    @cached_property
    def id(self) -> bytes:
        """The layout id."""
        return object_id(MAGIC + self._content)

    def to_bytes(self) -> bytes:
        """The file form.

        Raises:
            OversizeError: the layout is larger than the format allows.
        """
        return pack_frame(MAGIC, b"", self._content, f"Layout {self.id.hex()}")

    @classmethod
    def from_bytes(cls, data: bytes, expected: bytes, where: str) -> Layout:
        """Read the file form strictly.

        Raises:
            FormatError: one of its subclasses, for each way to be malformed.
        """
        _, content = unpack_frame(data, MAGIC, 0, where)
        reader = ByteReader(content, where, LayoutError)
        (count,) = reader.unpack(_U32)
        files = [_read_file(reader) for _ in reader.times(count)]
        reader.finish()
        layout = cls(files, where)
        if list(layout.files) != files:
            raise reader.error("its files are out of order")
        if layout.id != expected:
            raise LayoutIdError(where, f"it contains the layout {layout.id.hex()}")
        return layout


def check_path(path: str, where: str) -> None:
    """Make sure that a path stays within its directory, and out of git's, on every system.

    Raises:
        PathError: it is absolute, climbs, has empty or overlong parts, or unprintable characters.
    """
    parts = path.split("/")
    plain = (
        path.isprintable()  # before anything is encoded: it excludes lone surrogates
        and "\\" not in path
        and len(path.encode()) <= MAX_PATH_BYTES
        and not any(part.lower() in {"", ".", "..", ".git"} for part in parts)
        and all(len(part.encode()) <= MAX_PART_BYTES for part in parts)
    )
    if not plain:
        raise PathError(where, path)


def _check_file(file: WeightsFile | OtherFile, where: str) -> None:
    if isinstance(file, WeightsFile):
        if len(file.header) > MAX_HEADER_BYTES:
            raise LayoutError(where, f"the header of {file.path!r} has {len(file.header)} bytes")
        return
    if not 0 <= file.size <= MAX_TENSOR_BYTES:
        raise LayoutError(where, f"the size of {file.path!r} is impossible: {file.size} bytes")
    expected = (ID_BYTES, KEY_BYTES * block_count(file.size))
    if (len(file.digest), len(file.keys)) != expected:
        raise LayoutError(where, f"digest or block keys of {file.path!r} are too short or too long")


def _check_no_nesting(paths: list[str], where: str) -> None:
    known = set(paths)
    if len(known) != len(paths):
        raise LayoutError(where, "two of its files have one path")
    for path in paths:
        above = path.split("/")[:-1]
        for depth in range(1, len(above) + 1):
            if "/".join(above[:depth]) in known:
                raise LayoutError(where, f"{path!r} lies below another file")


def _file_bytes(file: WeightsFile | OtherFile) -> bytes:
    path = file.path.encode()
    start = _U16.pack(len(path)) + path
    if isinstance(file, WeightsFile):
        sort = _APART if file.apart else _WEIGHTS
        return start + bytes([sort]) + _U32.pack(len(file.header)) + file.header
    return start + bytes([_OTHER]) + _U64.pack(file.size) + file.digest + file.keys


def _read_file(reader: ByteReader) -> WeightsFile | OtherFile:
    (length,) = reader.unpack(_U16)
    path = reader.text(length)
    (sort,) = reader.take(1)
    if sort in {_WEIGHTS, _APART}:
        (header_length,) = reader.unpack(_U32)
        return WeightsFile(path, reader.take(header_length), sort == _APART)
    if sort != _OTHER:
        raise reader.error(f"file {path!r} is of the unknown sort {sort}")
    (size,) = reader.unpack(_U64)
    digest = reader.take(ID_BYTES)
    return OtherFile(path, size, digest, reader.take(KEY_BYTES * block_count(size)))
