"""Blocks in their stored form, and the 64-byte entry that describes one in a pack.

A block is at most 1 MiB of one tensor's bytes.  Its stored form is one of

    RAW      the bytes as they are
    PLANES   without a base: byte planes, compressed
    DELTA    against a block of the base: exact differences, compressed

The entry says all that decoding needs except the base's bytes, which are found by their key.

    entry = key 16 | base_key 16 | offset u64 | length u32 | raw_length u32 | check u64
          | codec u8 | kind u8 | base_kind u8 | part u8 | zero 4              (little-endian)

Limits: depth is 1, a base block is never itself a DELTA; no payload is longer than its block.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from pvc_store.errors import FormatError
from pvc_store.ids import KEY_BYTES, NO_KEY
from pvc_store.kinds import BYTES, KIND_BY_CODE, Kind

if TYPE_CHECKING:
    from typing_extensions import Buffer

BLOCK_BYTES = 1 << 20
ENTRY_BYTES = 64

_ENTRY = struct.Struct("<16s16sQIIQBBBB4s")
_ZERO = bytes(4)


class EntryError(FormatError):
    """An entry, or a block to be stored, contradicts itself."""


class DepthError(FormatError):
    """A base is itself stored as what differs from a base."""


class Codec(IntEnum):
    """The stored form of a block."""

    RAW = 0
    PLANES = 1
    DELTA = 2


_CODEC_BY_CODE = {int(codec): codec for codec in Codec}


@dataclass(frozen=True, slots=True)
class BlockForm:
    """How a block is coded: all that decoding needs besides payload and base bytes.

    Attributes:
        key: block key of the raw bytes.
        raw_length: bytes of the raw block, 1 to BLOCK_BYTES.
        codec: stored form.
        kind: numeric kind of the block's elements.
        base_key: block key of the base's block, NO_KEY unless codec is DELTA.
        base_kind: numeric kind of the base's block; narrower than `kind` if the base is widened.
        part: which part of the widened base block this block lies against, from 0.
    """

    key: bytes
    raw_length: int
    codec: Codec
    kind: Kind
    base_key: bytes = NO_KEY
    base_kind: Kind = BYTES
    part: int = 0


@dataclass(frozen=True, slots=True)
class EncodedBlock:
    """A block ready to be stored, or as it was read from the store.

    Attributes:
        form: how it is coded.
        payload: the stored bytes.  What a store hands out may be a view of the caller's scratch.
    """

    form: BlockForm
    payload: Buffer


@dataclass(frozen=True, slots=True)
class PackEntry:
    """Where in a pack a block lies.

    Attributes:
        form: how the block is coded.
        offset: first byte of the payload in the pack.
        length: bytes of the payload.
        check: xxh3-64 of the payload.
    """

    form: BlockForm
    offset: int
    length: int
    check: int

    def to_bytes(self) -> bytes:
        """The 64 bytes of this entry."""
        f = self.form
        return _ENTRY.pack(
            f.key, f.base_key, self.offset, self.length, f.raw_length, self.check,
            f.codec, f.kind.code, f.base_kind.code, f.part, _ZERO,
        )  # fmt: skip

    @classmethod
    def from_bytes(cls, data: Buffer, where: str) -> PackEntry:
        """Read 64 bytes strictly.

        Raises:
            EntryError: unknown codec or kind, impossible lengths, or a base that does not fit.
        """
        size = memoryview(data).nbytes
        if size != ENTRY_BYTES:
            raise EntryError(where, f"an entry has {size} bytes, not {ENTRY_BYTES}")
        key, base_key, offset, length, raw_length, check, codec, kind, base_kind, part, zero = (
            _ENTRY.unpack(data)
        )
        if codec not in _CODEC_BY_CODE:
            raise EntryError(where, f"codec {codec} is unknown")
        if kind not in KIND_BY_CODE or base_kind not in KIND_BY_CODE:
            raise EntryError(where, f"numeric kind {kind} or {base_kind} is unknown")
        if zero != _ZERO:
            raise EntryError(where, "the padding of an entry is not zero")
        form = BlockForm(
            key,
            raw_length,
            _CODEC_BY_CODE[codec],
            KIND_BY_CODE[kind],
            base_key,
            KIND_BY_CODE[base_kind],
            part,
        )
        check_form(form, length, where)
        return cls(form, offset, length, check)


def check_form(form: BlockForm, length: int, where: str) -> None:
    """Make sure that a payload of `length` bytes can be a block of this form.

    Raises:
        EntryError: impossible lengths, or a base that does not fit.
    """
    if not 0 < form.raw_length <= BLOCK_BYTES:
        raise EntryError(where, f"a block of {form.raw_length} bytes is impossible")
    if not 0 < length <= form.raw_length:
        raise EntryError(where, f"{length} stored bytes for {form.raw_length} are impossible")
    if form.codec is Codec.RAW and length != form.raw_length:
        raise EntryError(where, f"a RAW block of {form.raw_length} bytes has {length} stored bytes")
    _check_base(form, where)


def _check_base(form: BlockForm, where: str) -> None:
    if len(form.key) != KEY_BYTES or len(form.base_key) != KEY_BYTES:
        raise EntryError(where, f"a block key does not have {KEY_BYTES} bytes")
    if (form.codec is Codec.DELTA) != (form.base_key != NO_KEY):
        raise EntryError(where, f"codec {form.codec.name} and the base key contradict each other")
    if form.codec is not Codec.DELTA and (form.base_kind is not BYTES or form.part):
        raise EntryError(where, f"codec {form.codec.name} has a base kind or part")
    if form.codec is Codec.DELTA and form.base_key == form.key:
        raise EntryError(where, "a block is its own base")
    if not 0 <= form.part < max(1, form.kind.bits // form.base_kind.bits):
        raise EntryError(where, f"part {form.part} lies outside the base block")
