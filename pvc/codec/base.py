"""What a block is coded against: a block of the base, widened if need be, with its order.

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
from pvc.codec.elements import FORMATS, REALS, Words, as_words, as_writable_words, elements_of
from pvc_store.block import BLOCK_BYTES

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
    return divmod(index, kind.bits // base_kind.bits)


def matching_bytes(
    raw: NDArray[np.uint8], base_kind: Kind, part: int, kind: Kind, raw_length: int
) -> NDArray[np.uint8] | None:
    """The bytes of a base block that hold the elements of a block coded against it.

    Args:
        raw: all bytes of the base block.
        base_kind: its numeric kind.
        part: which part of it.
        kind: numeric kind of the coded block.
        raw_length: bytes of the coded block.

    Returns:
        A view of `raw`, or None if it does not hold as many elements.
    """
    ratio = kind.bits // base_kind.bits
    start = part * (BLOCK_BYTES // ratio)
    stop = start + raw_length // ratio
    return raw[start:stop] if part < ratio and stop <= raw.size else None


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
        self.holds: tuple[object, ...] | None = None
        self.widened = np.empty(BLOCK_BYTES, np.uint8)
        self.positions = np.empty(BLOCK_BYTES, np.uint32)


_MEMORY = _Memory()


def ordered_base(
    raw: NDArray[np.uint8], base_key: bytes, base_kind: Kind, part: int, kind: Kind
) -> OrderedBase:
    """The elements in `raw`, widened to `kind`, and their order.

    The result shares memory with `raw` and with this thread's next result.

    Args:
        raw: the matching bytes of a base block.
        base_key: key of that base block.  If it is the one of the thread's last call, what was
            computed then is used again.
        base_kind: numeric kind of the base block.
        part: which part of the base block `raw` is.
        kind: numeric kind of the block that is coded against it.
    """
    how = elements_of(kind)
    wanted = (base_key, base_kind, part, kind, raw.size)
    known = _MEMORY.holds == wanted
    _MEMORY.holds = None  # should the lines below be interrupted
    if base_kind == kind:
        words = as_words(raw, kind)
    else:
        widened = _MEMORY.widened[: raw.size * kind.bits // base_kind.bits]
        if not known:
            kernels.widen(
                as_words(raw, base_kind),
                FORMATS[base_kind],
                as_writable_words(widened, kind),
                FORMATS[kind],
            )
        words = as_words(widened, kind)
    if not how.key_mask:
        return OrderedBase(words, None)
    positions = _MEMORY.positions[: words.size]
    if not known:
        starts = kernels.key_starts(words, how.key_shift, how.key_mask)
        kernels.order(words, how.key_shift, how.key_mask, starts, positions)
    _MEMORY.holds = wanted
    return OrderedBase(words, positions)


def forget_base() -> None:
    """Forget this thread's last base block: its bytes turned out not to be what its key says."""
    _MEMORY.holds = None
