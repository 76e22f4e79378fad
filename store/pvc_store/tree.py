"""Trees: complete sets of weights, named by what they contain.

    canonical = count u32 | tensor*                                     sorted by name
    tensor    = name_length u16 | name utf-8 | kind u8 | ndim u8 | dim u64*
              | BLAKE3 of the tensor's bytes 32 | block keys 16*
    tree id   = BLAKE3 of "PVCTREE1" + canonical

    file      = "PVCTREE1" | id of the base tree 32, or zeros | content, framed (see `frame`)
    content   = canonical                                               zeros: the whole tree
              | removed_count u32 | (name_length u16 | name)* | canonical of the tensors that differ

The id covers names, kinds, shapes, digests and keys, and nothing else: never packs, shards, files.

The names of removed tensors are sorted too; each is one of the base's, and none comes back.

Limits: a base tree is itself stored whole (depth 1); MAX_NAME_BYTES of name; MAX_DIMENSIONS;
MAX_TENSOR_BYTES of tensor; MAX_CONTENT_BYTES of content (see `frame`).
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING

from pvc_store.block import BLOCK_BYTES, DepthError
from pvc_store.errors import FormatError
from pvc_store.frame import MAGIC_BYTES, TruncatedFrameError, check_magic, pack_frame, unpack_frame
from pvc_store.ids import ID_BYTES, KEY_BYTES, NO_ID, object_id
from pvc_store.kinds import BYTES, KIND_BY_CODE, Kind
from pvc_store.reader import ByteReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MAGIC = b"PVCTREE1"
MAX_NAME_BYTES = (1 << 16) - 1
MAX_DIMENSIONS = 255
MAX_TENSOR_BYTES = 1 << 50

_COUNT = struct.Struct("<I")
_NAME = struct.Struct("<H")


class TreeError(FormatError):
    """A tree contradicts itself: names out of order, impossible sizes, bytes left over."""


class TreeIdError(FormatError):
    """A tree file does not contain the tree that it is named after."""


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
    """An immutable mapping from names to tensors, in the order of the names' UTF-8.

    Args:
        tensors: the tensors, in any order.

    Raises:
        TreeError: a tensor contradicts itself or exceeds a limit, or two have one name.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        given = list(tensors)
        for tensor in given:
            _check_tensor(tensor)
        self._tensors = _by_name(given)
        if len(self._tensors) != len(given):
            raise TreeError("A new tree", "two of its tensors have one name")

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
        """The file form: whole, or only what differs from `base`.

        Raises:
            OversizeError: the tree is larger than the format allows.
        """
        where = f"Tree {self.id.hex()}"
        if base is None or base.id == self.id:
            return pack_frame(MAGIC, NO_ID, _canonical(self.values()), where)
        removed = [name for name in base if name not in self]
        differing = [tensor for name, tensor in self.items() if base.get(name) != tensor]
        content = _COUNT.pack(len(removed)) + b"".join(map(_name_bytes, removed))
        return pack_frame(MAGIC, base.id, content + _canonical(differing), where)

    @classmethod
    def from_bytes(
        cls,
        data: bytes,
        expected: bytes,
        base_file: Callable[[bytes], bytes],
        where: str,
        known: Mapping[bytes, Tree] = MappingProxyType({}),
    ) -> Tree:
        """Read the file form strictly.

        Args:
            data: the whole file.
            expected: the tree id that the file is named after.
            base_file: gives the file of a tree id, for a tree that is stored as differences.
            where: what the file is, for messages.
            known: trees that were read before, by id.

        Raises:
            FormatError: one of its subclasses, for each way to be malformed.
        """
        head, content = unpack_frame(data, MAGIC, ID_BYTES, where)
        reader = ByteReader(content, where, TreeError)
        tree = cls(())
        if head == NO_ID:
            tree._tensors = _by_name(_read_tensors(reader))
            tree.id = object_id(MAGIC + content)  # strict reading admits only canonical bytes
        else:
            base = _read_base(head, base_file, where, known)
            tree._tensors = _by_name(_read_differences(reader, base))
        reader.finish()
        if tree.id != expected:
            raise TreeIdError(where, f"it contains the tree {tree.id.hex()}")
        return tree

    @staticmethod
    def is_whole(data: bytes, tree_id: bytes, where: str) -> bool:
        """Whether a file contains the tree of an id, whole and not as differences from a base.

        Raises:
            FormatError: it is no tree of this version, or was damaged.
        """
        head, content = unpack_frame(data, MAGIC, ID_BYTES, where)
        return head == NO_ID and object_id(MAGIC + content) == tree_id

    @staticmethod
    def base_of(data: bytes, where: str) -> bytes | None:
        """The base tree that a file names, from the file's first bytes.

        Raises:
            FormatError: it is no tree of this version.
        """
        check_magic(data[:MAGIC_BYTES], MAGIC, where)
        head = data[MAGIC_BYTES : MAGIC_BYTES + ID_BYTES]
        if len(head) != ID_BYTES:
            raise TruncatedFrameError(where, f"{len(data)} bytes are too few")
        return None if head == NO_ID else head


def file_forms(
    trees: Iterable[tuple[Tree, Tree | None]], holds_whole: Callable[[bytes], bool]
) -> Iterator[tuple[bytes, bytes]]:
    """Ids and files of trees that are stored together; depth stays 1.

    Args:
        trees: each tree, not yet stored, and the base against which it is to be stored.
        holds_whole: whether a tree of this id is stored already, whole.

    Yields:
        id and file of each tree: against its base if that is stored whole, else whole itself.
    """
    whole: set[bytes] = set()
    for tree, base in sorted(trees, key=lambda pair: pair[1] is not None):
        if base is not None and (base.id in whole or holds_whole(base.id)):
            yield tree.id, tree.to_bytes(base)
        else:
            whole.add(tree.id)
            yield tree.id, tree.to_bytes()


def _check_tensor(tensor: Tensor) -> None:
    kind, shape = tensor.kind, tensor.shape
    try:
        name_length = len(tensor.name.encode())
    except UnicodeEncodeError:
        raise _mistake(tensor, "its name is not Unicode text") from None
    if name_length > MAX_NAME_BYTES or len(shape) > MAX_DIMENSIONS:
        raise _mistake(tensor, f"{name_length} bytes of name, or its shape, exceed the limits")
    if kind is BYTES or KIND_BY_CODE.get(kind.code) != kind:
        raise _mistake(tensor, f"{kind.name} is no kind of tensors")
    if shape and not 0 <= min(shape) <= max(shape) < 1 << 64:
        raise _mistake(tensor, "a dimension of it does not fit 64 bits")
    nbytes = kind.bytes_of(shape)
    if nbytes > MAX_TENSOR_BYTES:
        raise _mistake(tensor, f"it has more than {MAX_TENSOR_BYTES} bytes")
    if (len(tensor.digest), len(tensor.keys)) != (ID_BYTES, KEY_BYTES * block_count(nbytes)):
        raise _mistake(tensor, "its digest or block keys are too short or too long")


def _mistake(tensor: Tensor, detail: str) -> TreeError:
    return TreeError(f"Tensor {tensor.name[:200]!r}", detail)


def _by_name(tensors: list[Tensor]) -> Mapping[str, Tensor]:
    """The tensors in their order: that of code points is that of their UTF-8."""
    return MappingProxyType({one.name: one for one in sorted(tensors, key=attrgetter("name"))})


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


def _read_base(
    base_id: bytes,
    base_file: Callable[[bytes], bytes],
    where: str,
    known: Mapping[bytes, Tree],
) -> Tree:
    data, base_where = base_file(base_id), f"Tree {base_id.hex()}"
    if Tree.base_of(data, base_where) is not None:
        raise DepthError(where, f"its base {base_id.hex()} has a base itself")
    tree = known.get(base_id)
    return Tree.from_bytes(data, base_id, base_file, base_where) if tree is None else tree


def _read_differences(reader: ByteReader, base: Tree) -> list[Tensor]:
    removed = _read_removed(reader)
    differing = _read_tensors(reader)
    names = {tensor.name for tensor in differing}
    if not removed <= base.keys() - names:
        raise reader.error("it removes a tensor that its base lacks or that comes back")
    kept = [tensor for name, tensor in base.items() if name not in removed | names]
    return kept + differing


def _read_removed(reader: ByteReader) -> set[str]:
    (count,) = reader.unpack(_COUNT)
    names = [_read_name(reader) for _ in reader.times(count)]
    _check_order(names, reader)
    return set(names)


def _read_tensors(reader: ByteReader) -> list[Tensor]:
    (count,) = reader.unpack(_COUNT)
    tensors = [_read_tensor(reader) for _ in reader.times(count)]
    _check_order([tensor.name for tensor in tensors], reader)
    return tensors


def _check_order(names: list[str], reader: ByteReader) -> None:
    for before, after in itertools.pairwise(names):
        if before >= after:
            raise reader.error(f"tensor {after!r} is out of order")


def _read_name(reader: ByteReader) -> str:
    (length,) = reader.unpack(_NAME)
    return reader.text(length)


@cache
def _shape(dimensions: int) -> struct.Struct:
    return struct.Struct(f"<{dimensions}Q")


def _read_tensor(reader: ByteReader) -> Tensor:
    name = _read_name(reader)
    code, dimensions = reader.take(2)
    if code not in KIND_BY_CODE or code == BYTES.code:
        raise reader.error(f"tensor {name!r} has the unknown kind {code}")
    kind = KIND_BY_CODE[code]
    shape = reader.unpack(_shape(dimensions))
    digest = reader.take(ID_BYTES)
    keys = reader.take(KEY_BYTES * block_count(kind.bytes_of(shape)))
    return Tensor(name, kind, shape, digest, keys)
