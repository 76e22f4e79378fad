"""Raw blocks of stored trees, every one verified against its key.

Blocks of the base come from the user's own files while these still hold them, else from the store.
Buffers belong to the thread; what a method returns is valid until the thread's next call of it.
"""

from __future__ import annotations

import contextlib
import threading
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np

from pvc.codec import BaseBlock, base_place, can_be_base, decode
from pvc.errors import PvcError
from pvc.weights.checkpoint import Checkpoint
from pvc.weights.errors import CheckpointError
from pvc.weights.reader import CheckpointReader
from pvc_store.block import BLOCK_BYTES, BlockForm, Codec
from pvc_store.errors import DamageError, MissingError
from pvc_store.ids import block_key

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pvc_store.kinds import Kind
    from pvc_store.store import StoreReader
    from pvc_store.tree import Tensor, Tree

    Bytes = NDArray[np.uint8]


class MissingBaseError(PvcError):
    """A block of the base is neither in the user's files nor in the store.

    Attributes:
        name: the tensor it belongs to.
        directory: where the base was read from; None if only the store was looked at.
    """

    def __init__(self, name: str, directory: Path | None) -> None:
        self.name = name
        self.directory = directory
        files = "" if directory is None else f", and {directory} does not hold it (any more)"
        super().__init__(f"The base's tensor {name} is not in the store{files}.")


class BaseFiles:
    """The checkpoint that the base was read from, as far as it is still there.

    Args:
        directory: where it was; None if files are not to be looked at.
    """

    def __init__(self, directory: Path | None) -> None:
        self.directory = directory
        self._reader: CheckpointReader | None = None
        if directory is None:
            return
        with contextlib.suppress(CheckpointError):
            self._checkpoint = Checkpoint.open(directory)
            self._reader = CheckpointReader(self._checkpoint)

    def close(self) -> None:
        """Close the files."""
        if self._reader is not None:
            self._reader.close()

    def read(self, tensor: Tensor, index: int, out: Bytes) -> bool:
        """Fill `out` with a block if the files still hold it; whether they do."""
        if self._reader is None:
            return False
        place = self._checkpoint.tensors.get(tensor.name)
        if place is None or place.nbytes != tensor.nbytes:
            return False
        try:
            self._reader.read_into(place, index * BLOCK_BYTES, out.data)
        except CheckpointError:
            return False
        return block_key(out.data) == tensor.key(index)


class _Buffers(threading.local):
    """One thread's memory: a block for each role, so that none overwrites another."""

    def __init__(self) -> None:
        self._held: dict[str, Bytes] = {}
        self.base_key = b""

    def get(self, role: str, length: int) -> Bytes:
        if role not in self._held:
            self._held[role] = np.empty(BLOCK_BYTES, np.uint8)
        return self._held[role][:length]


class Blocks:
    """Reads raw blocks; safe for several threads.

    Args:
        reading: the store, or a running change to it.
        base: the base's tree.
        files: where the base was read from.
    """

    def __init__(self, reading: StoreReader, base: Tree, files: BaseFiles) -> None:
        self.reading = reading
        self.base = base
        self._files = files
        self._buffers = _Buffers()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def base_block(self, tensor: Tensor, index: int) -> Bytes:
        """The raw bytes of a block of the base.

        Raises:
            MissingBaseError: neither files nor store hold it.
            DamageError: the store's copy is not what it should be.
        """
        key = tensor.key(index)
        out = self._buffers.get("base", tensor.block_length(index))
        if self._buffers.base_key == key:
            return out
        self._buffers.base_key = b""
        if not self._files.read(tensor, index, out):
            self._stored_base(tensor, key, out)
        self._buffers.base_key = key
        return out

    def _stored_base(self, tensor: Tensor, key: bytes, out: Bytes) -> None:
        if not self.reading.has(key):
            raise MissingBaseError(tensor.name, self._files.directory)
        form = self.reading.form(key)
        _check_length(form, len(out))
        self._decode_base(form, out)

    def _decode_base(self, form: BlockForm, out: Bytes) -> None:
        if form.codec is Codec.DELTA:
            name = f"Block {form.key.hex()}"
            raise DamageError(name, "it is a base block, yet it has a base itself")
        decode(self.reading.get(form.key), None, out)

    def against(self, name: str, kind: Kind, index: int) -> BaseBlock | None:
        """What a block of a tensor is coded against, or None if the base has nothing like it."""
        place = self._base_place(name, kind, index)
        if place is None:
            return None
        base = self.base[name]
        at, part = place
        return BaseBlock(self.base_block(base, at), base.key(at), base.kind, part)

    def _base_place(self, name: str, kind: Kind, index: int) -> tuple[int, int] | None:
        base = self.base.get(name)
        if base is None or not can_be_base(base.kind, kind):
            return None
        at, part = base_place(index, kind, base.kind)
        return (at, part) if at < base.block_count else None

    def read(self, tensor: Tensor, index: int, out: Bytes) -> None:
        """Fill `out` with the raw bytes of a block of any stored tree.

        Raises:
            MissingError: the store does not hold it.
            DamageError: it is not what it should be.
        """
        base = self._alike(tensor, index)
        if base is not None:
            out[:] = self.base_block(base, index)
        else:
            self.read_key(tensor.key(index), out, tensor.name, index)

    def _alike(self, tensor: Tensor, index: int) -> Tensor | None:
        """The base's tensor of the same name, if this block of it is the same."""
        base = self.base.get(tensor.name)
        same = (
            base is not None and index < base.block_count and base.key(index) == tensor.key(index)
        )
        return base if same else None

    def read_key(self, key: bytes, out: Bytes, near: str = "", index: int = 0) -> None:
        """Fill `out` with the block of a key; tensor and index only say where to look first."""
        try:
            form = self.reading.form(key)
        except MissingError:
            name, at = self._place(key, key)
            out[:] = self.base_block(self.base[name], at)
            return
        _check_length(form, len(out))
        base_raw = self._base_of(form, near, index) if form.codec is Codec.DELTA else None
        decode(self.reading.get(key), base_raw, out)

    def _base_of(self, form: BlockForm, near: str, index: int) -> Bytes:
        """What a stored block is coded against, be it of another base that is in the store."""
        place = self._near(form, near, index)
        if place is None and self.reading.has(form.base_key) and not self.in_base(form.base_key):
            return self._other_base(form)
        name, at = place or self._place(form.base_key, form.key)
        return self.base_block(self.base[name], at)

    def _other_base(self, form: BlockForm) -> Bytes:
        base = self.reading.form(form.base_key)
        out = self._buffers.get("base", base.raw_length)
        self._buffers.base_key = b""
        self._decode_base(base, out)
        return out

    def _near(self, form: BlockForm, name: str, index: int) -> tuple[str, int] | None:
        place = self._base_place(name, form.kind, index)
        if place is None or self.base[name].key(place[0]) != form.base_key:
            return None
        return name, place[0]

    def _place(self, base_key: bytes, wanted: bytes) -> tuple[str, int]:
        """Where the base holds a block that was moved to another place."""
        if not self.in_base(base_key):
            raise MissingError("block", wanted.hex())
        return self._places[base_key]

    def in_base(self, key: bytes) -> bool:
        """Whether any block of the base has this key."""
        return key in self._places

    @cached_property
    def _places(self) -> dict[bytes, tuple[str, int]]:
        return {
            tensor.key(index): (name, index)
            for name, tensor in self.base.items()
            for index in range(tensor.block_count)
        }

    def elements(self, tensor: Tensor, start: int, length: int) -> Bytes:
        """Bytes `start` to `start + length` of a stored tensor, at most a block of them."""
        out = self._buffers.get("range", length)
        index, inside = divmod(start, BLOCK_BYTES)
        if inside == 0 and length == tensor.block_length(index):
            base = self._alike(tensor, index)
            if base is not None:
                return self.base_block(base, index)
            self.read(tensor, index, out)
            return out
        filled = 0
        while filled < length:
            index, inside = divmod(start + filled, BLOCK_BYTES)
            block = self._buffers.get("whole", tensor.block_length(index))
            self.read(tensor, index, block)
            count = min(length - filled, len(block) - inside)
            out[filled : filled + count] = block[inside : inside + count]
            filled += count
        return out

    def buffer(self, role: str, length: int) -> Bytes:
        """Memory of this thread for the caller's own use, at most a block, one per role."""
        return self._buffers.get(f"caller {role}", length)


def _check_length(form: BlockForm, length: int) -> None:
    if form.raw_length != length:
        raise DamageError(
            f"Block {form.key.hex()}", f"it has {form.raw_length} bytes where {length} belong"
        )
