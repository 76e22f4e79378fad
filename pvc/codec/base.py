"""The base of a block: the block it is coded against, widened if need be, and its order.

A tensor may be stored in a wider float type than the base has, an fp32 master over a bf16 base.
Its blocks then hold fewer elements than the base's: block `index` lies against one of
`kind.bits // base_kind.bits` parts of a base block, and is coded against the widened part.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pvc.codec import kernels
from pvc.codec.buffers import BUFFERS
from pvc.codec.elements import FORMATS, REALS, Words, as_words, as_writable_words, elements_of
from pvc_store.block import BLOCK_BYTES
from pvc_store.errors import DamageError
from pvc_store.ids import block_key

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pvc_store.kinds import Kind


@dataclass(frozen=True, slots=True)
class BaseBlock:
    """What a block is coded against.

    Attributes:
        raw: all bytes of the base's block, uint8, at most BLOCK_BYTES.
        key: its block key.
        kind: numeric kind of its elements.
        part: which part of the base's block, once widened, the coded block lies against.
    """

    raw: NDArray[np.uint8]
    key: bytes
    kind: Kind
    part: int = 0

    def matching(self, kind: Kind, raw_length: int) -> NDArray[np.uint8] | None:
        """The bytes that hold the elements of a block of `kind` with `raw_length` bytes.

        Returns:
            A view of `raw`; None if this block cannot be the base of that one, because of their
            kinds or because it has too few elements.
        """
        ratio = _ratio(kind, self.kind)
        start = self.part * (BLOCK_BYTES // ratio)
        stop = start + raw_length // ratio
        fits = can_be_base(self.kind, kind) and self.part < ratio and stop <= self.raw.size
        return self.raw[start:stop] if fits else None


def can_be_base(base_kind: Kind, kind: Kind) -> bool:
    """Whether blocks of `kind` can be coded against blocks of `base_kind`.

    They can if the kinds are the same, or if every number of `base_kind` is one of the wider float
    type `kind`.
    """
    if base_kind == kind:
        return True
    return {base_kind, kind} <= REALS and FORMATS[kind].holds(FORMATS[base_kind])


def base_place(index: int, kind: Kind, base_kind: Kind) -> tuple[int, int]:
    """Which block of the base, and which part of it, block `index` of a tensor lies against."""
    return divmod(index, _ratio(kind, base_kind))


def _ratio(kind: Kind, base_kind: Kind) -> int:
    return max(1, kind.bits // base_kind.bits)


@dataclass(frozen=True, slots=True)
class OrderedBase:
    """The elements that a block is coded against.

    Attributes:
        words: in the kind of the block that is coded against them.
        positions: the place of each in the order of their keys; None for kinds without a key.
    """

    words: Words
    positions: NDArray[np.uint32] | None


class _Memory(threading.local):
    """The order of the base block that a thread worked against last, and its widened words.

    Blocks of several vectors are often coded against one base block in turn.
    """

    def __init__(self) -> None:
        self.holds: tuple[object, ...] = ()
        self.widened = np.empty(BLOCK_BYTES, np.uint8)
        self.positions = np.empty(BLOCK_BYTES, np.uint32)


_MEMORY = _Memory()


def ordered_base(base: BaseBlock, kind: Kind, raw_length: int) -> OrderedBase | None:
    """The elements of a base block that a block is coded against, and their order.

    The result shares memory with `base` and with this thread's next result.

    Args:
        base: the base block.
        kind: numeric kind of the block that is coded against it.
        raw_length: its bytes.

    Returns:
        None if `base` cannot be its base.

    Raises:
        DamageError: the bytes of `base` do not have its key; nothing coded against them could ever
            be decoded.
    """
    raw = base.matching(kind, raw_length)
    if raw is None:
        return None
    found = block_key(base.raw.data)
    if found != base.key:
        raise DamageError(f"Base block {base.key.hex()}", f"its bytes have the key {found.hex()}")
    wanted = (base.key, base.kind, base.part, kind, raw_length)
    known = _MEMORY.holds == wanted
    _MEMORY.holds = ()  # until the buffers are complete
    words = as_words(raw, kind) if base.kind == kind else _widened(raw, base.kind, kind, known)
    positions = _positions(words, kind, known)
    _MEMORY.holds = wanted
    return OrderedBase(words, positions)


def _widened(raw: NDArray[np.uint8], base_kind: Kind, kind: Kind, known: bool) -> Words:
    widened = _MEMORY.widened[: raw.size * kind.bits // base_kind.bits]
    if not known:
        out = as_writable_words(widened, kind)
        kernels.widen(as_words(raw, base_kind), FORMATS[base_kind], out, FORMATS[kind])
    return as_words(widened, kind)


def _positions(words: Words, kind: Kind, known: bool) -> NDArray[np.uint32] | None:
    how = elements_of(kind)
    if not how.key_mask:
        return None
    positions = _MEMORY.positions[: words.size]
    if not known:
        keys = BUFFERS.front[: words.size]
        kernels.keys_of(words, how.key_shift, how.key_mask, keys)
        kernels.key_starts(keys, BUFFERS.starts)
        kernels.order(keys, BUFFERS.starts, positions)
    return positions
