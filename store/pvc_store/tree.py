"""Trees: complete sets of weights, named by what they contain.

    canonical = count u32 | tensor*                                     sorted by name
    tensor    = name_length u16 | name utf-8 | kind u8 | ndim u8 | dim u64*
              | BLAKE3 of the tensor's bytes 32 | block keys 16*
    tree id   = BLAKE3 of "PVCTREE1" + canonical

    file      = "PVCTREE1" | id of the base tree 32, or zeros | content, framed (see `frame`)
    content   = canonical                                               zeros: the whole tree
              | removed_count u32 | (name_length u16 | name)* | canonical of the tensors that differ

The id covers names, kinds, shapes, digests and keys, and nothing else: never packs, shards, files.

Limits: a base tree is itself stored whole (depth 1); 65,535 bytes of name; 255 dimensions.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

from pvc_store.block import BLOCK_BYTES
from pvc_store.errors import FormatError
from pvc_store.frame import pack_frame, unpack_frame
from pvc_store.ids import ID_BYTES, KEY_BYTES, NO_ID, object_id
from pvc_store.kinds import KIND_BY_CODE, Kind
from pvc_store.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MAGIC = b"PVCTREE1"
MAX_TREE_BYTES = 1 << 30
MAX_TENSOR_BYTES = 1 << 50

_COUNT = struct.Struct("<I")
_NAME = struct.Struct("<H")


class TreeError(FormatError):
    """A tree contradicts itself: names out of order, impossible sizes, bytes left over."""


class TreeIdError(FormatError):
    """A tree file does not hold the tree that it is named after."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a tree.

    Attributes:
        name: its name in the checkpoint.
        kind: numeric kind of its elements.
        shape: its dimensions; () is a scalar, a zero makes it empty.
        digest: BLAKE3 of its bytes, 32 bytes.
        keys: its block keys, 16 bytes each, one after another.
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]
    digest: bytes
    keys: bytes

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor."""
        return self.kind.bytes_of(self.shape)

    @property
    def block_count(self) -> int:
        """Number of blocks, the short last one included."""
        return len(self.keys) // KEY_BYTES

    def key(self, index: int) -> bytes:
        """Key of block `index`."""
        return self.keys[index * KEY_BYTES : (index + 1) * KEY_BYTES]

    def block_length(self, index: int) -> int:
        """Bytes of block `index`."""
        return min(BLOCK_BYTES, self.nbytes - index * BLOCK_BYTES)


def block_count(nbytes: int) -> int:
    """How many blocks a tensor of `nbytes` bytes has."""
    return -(-nbytes // BLOCK_BYTES)


class Tree(Mapping[str, Tensor]):
    """An immutable mapping from names to tensors, in the order of the names."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        ordered = sorted(tensors, key=lambda tensor: tensor.name.encode())
        self._tensors = MappingProxyType({tensor.name: tensor for tensor in ordered})
        if len(self._tensors) != len(ordered):
            raise TreeError("A tree", "two of its tensors have one name")

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __hash__(self) -> int:
        return hash(self.id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tree) and self.id == other.id

    @cached_property
    def id(self) -> bytes:
        """The tree id."""
        return object_id(MAGIC + _canonical(self.values()))

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors together."""
        return sum(tensor.nbytes for tensor in self.values())

    def to_bytes(self, base: Tree | None = None) -> bytes:
        """The file form: whole, or only what differs from `base`."""
        if base is None or base.id == self.id:
            return pack_frame(MAGIC, NO_ID, _canonical(self.values()))
        removed = [name for name in base if name not in self]
        differing = [tensor for name, tensor in self.items() if base.get(name) != tensor]
        content = _COUNT.pack(len(removed)) + b"".join(map(_name_bytes, removed))
        return pack_frame(MAGIC, base.id, content + _canonical(differing))

    @classmethod
    def from_bytes(
        cls, data: bytes, expected: bytes, base: Callable[[bytes], Tree], where: str
    ) -> Tree:
        """Read the file form strictly.

        Args:
            data: the whole file.
            expected: the tree id that the file is named after.
            base: gives the tree of an id, for a tree that holds only differences.
            where: what the file is, for messages.

        Raises:
            FormatError: one of its subclasses, for each way to be malformed.
        """
        head, content = unpack_frame(data, MAGIC, ID_BYTES, MAX_TREE_BYTES, where)
        reader = Reader(content, where, TreeError)
        if head == NO_ID:
            tree = cls(_read_tensors(reader))
        else:
            (count,) = reader.unpack(_COUNT)
            removed = {_read_name(reader) for _ in reader.times(count)}
            differing = {tensor.name: tensor for tensor in _read_tensors(reader)}
            kept = {name: t for name, t in base(head).items() if name not in removed}
            tree = cls((kept | differing).values())
        reader.finish()
        if tree.id != expected:
            raise TreeIdError(where, f"it holds the tree {tree.id.hex()}")
        return tree

    @staticmethod
    def base_of(data: bytes, where: str) -> bytes | None:
        """The base tree that a file names, without reading the rest."""
        head = data[len(MAGIC) : len(MAGIC) + ID_BYTES]
        if data[: len(MAGIC)] != MAGIC or len(head) != ID_BYTES:
            raise TreeError(where, "it is no tree")
        return None if head == NO_ID else head


def _name_bytes(name: str) -> bytes:
    encoded = name.encode()
    return _NAME.pack(len(encoded)) + encoded


def _tensor_bytes(tensor: Tensor) -> bytes:
    dims = struct.pack(
        f"<BB{len(tensor.shape)}Q", tensor.kind.code, len(tensor.shape), *tensor.shape
    )
    return _name_bytes(tensor.name) + dims + tensor.digest + tensor.keys


def _canonical(tensors: Iterable[Tensor]) -> bytes:
    parts = [_tensor_bytes(tensor) for tensor in tensors]
    return _COUNT.pack(len(parts)) + b"".join(parts)


def _read_name(reader: Reader) -> str:
    (length,) = reader.unpack(_NAME)
    return reader.text(length)


def _read_tensors(reader: Reader) -> list[Tensor]:
    (count,) = reader.unpack(_COUNT)
    tensors: list[Tensor] = []
    for _ in reader.times(count):
        tensor = _read_tensor(reader)
        if tensors and tensors[-1].name.encode() >= tensor.name.encode():
            raise reader.error(f"tensor {tensor.name!r} is out of order")
        tensors.append(tensor)
    return tensors


def _read_tensor(reader: Reader) -> Tensor:
    name = _read_name(reader)
    code, ndim = reader.take(2)
    if code not in KIND_BY_CODE:
        raise reader.error(f"tensor {name!r} has the unknown kind {code}")
    kind = KIND_BY_CODE[code]
    shape = reader.unpack(struct.Struct(f"<{ndim}Q"))
    nbytes = kind.bytes_of(shape)
    if nbytes > MAX_TENSOR_BYTES:
        raise reader.error(f"tensor {name!r} claims {nbytes} bytes")
    digest = reader.take(ID_BYTES)
    return Tensor(name, kind, shape, digest, reader.take(KEY_BYTES * block_count(nbytes)))
