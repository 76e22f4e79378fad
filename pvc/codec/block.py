"""One block to its stored form, and back.

    encode   raw bytes, perhaps a base block -> RAW, PLANES or DELTA with its payload
    decode   stored form, perhaps the base block's bytes -> raw bytes, checked against the key

The forms are described in docs/format/block.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import zstandard

from pvc.codec import kernels
from pvc.codec.base import BaseBlock, ordered_base
from pvc.codec.buffers import BUFFERS
from pvc.codec.elements import as_words, as_writable_words, elements_of
from pvc_store.block import BLOCK_BYTES, BlockForm, Codec, EncodedBlock
from pvc_store.errors import DamageError, FormatError
from pvc_store.ids import block_key
from pvc_store.kinds import BYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pvc_store.kinds import Kind

DOUBTFUL_PERCENT = 60
RAW_PERCENT = 98


def encode(raw: NDArray[np.uint8], kind: Kind, base: BaseBlock | None = None) -> EncodedBlock:
    """Encode a block.

    DELTA if there is a base, else PLANES.  A delta above DOUBTFUL_PERCENT of the raw bytes is
    weighed against PLANES, and anything above RAW_PERCENT is stored as it is.

    Args:
        raw: bytes of the block, 1 to BLOCK_BYTES, a whole number of elements.
        kind: numeric kind of the elements.
        base: what to code the block against; left aside if its kind is unsuitable or it has too
            few elements.

    Returns:
        The stored form.  The payload of a RAW block is `raw` itself.

    Raises:
        DamageError: the bytes of `base` do not have its key.
        ValueError: `raw` is not a block of this kind.
    """
    if not _is_block(raw.size, kind):
        raise ValueError(f"{raw.size} bytes are no block of {kind.name}")
    key = block_key(raw.data)
    encoded = _encode_delta(raw, key, kind, base) if base is not None else None
    if encoded is None or _exceeds(encoded, DOUBTFUL_PERCENT):
        planes = _encode_planes(raw, key, kind)
        encoded = planes if encoded is None else min(encoded, planes, key=_stored_bytes)
    if _exceeds(encoded, RAW_PERCENT):
        return EncodedBlock(BlockForm(key, raw.size, Codec.RAW, kind), raw.data)
    return encoded


def decode(block: EncodedBlock, base_raw: NDArray[np.uint8] | None, out: NDArray[np.uint8]) -> None:
    """Decode a block, and check the result against its key.

    Args:
        block: stored form.
        base_raw: all bytes of the base's block; needed for DELTA only.
        out: receives the raw bytes; exactly `raw_length` of them.  After an error its content is
            undefined.

    Raises:
        FormatError: the payload does not follow its form.
        DamageError: `base_raw` is missing, is another block, or cannot be the base of this one;
            or the decoded bytes do not have the block's key.
        ValueError: `out` does not have the right size.
    """
    form = block.form
    if not _is_block(form.raw_length, form.kind):
        raise FormatError(_name(form), f"{form.raw_length} bytes are no block of {form.kind.name}")
    if out.size != form.raw_length:
        raise ValueError(f"{out.size} bytes cannot receive a block of {form.raw_length}")
    if form.codec is Codec.RAW:
        _decode_raw(block, out)
    elif form.codec is Codec.PLANES:
        kernels.join(_decompress(block), as_writable_words(out, form.kind))
    else:
        _decode_delta(block, base_raw, out)
    found = block_key(out.data)
    if found != form.key:
        raise DamageError(_name(form), f"it was decoded to bytes with the key {found.hex()}")


def _encode_delta(
    raw: NDArray[np.uint8], key: bytes, kind: Kind, base: BaseBlock
) -> EncodedBlock | None:
    ordered = ordered_base(base, kind, raw.size)
    if ordered is None:
        return None
    magnitude = elements_of(kind).magnitude
    front, back = BUFFERS.front[: raw.size], BUFFERS.back[: raw.size]
    zigzag = as_writable_words(front, kind)
    kernels.difference(ordered.words, as_words(raw, kind), magnitude, zigzag)
    if ordered.positions is not None:
        kernels.scatter(as_words(front, kind), ordered.positions, as_writable_words(back, kind))
        front, back = back, front
    kernels.split(as_words(front, kind), back)
    form = BlockForm(key, raw.size, Codec.DELTA, kind, base.key, base.kind, base.part)
    return EncodedBlock(form, BUFFERS.planes_compressor.compress(back.data))


def _encode_planes(raw: NDArray[np.uint8], key: bytes, kind: Kind) -> EncodedBlock:
    planes = BUFFERS.front[: raw.size]
    kernels.split(as_words(raw, kind), planes)
    form = BlockForm(key, raw.size, Codec.PLANES, kind)
    compressor = BUFFERS.bytes_compressor if kind is BYTES else BUFFERS.planes_compressor
    return EncodedBlock(form, compressor.compress(planes.data))


def _decode_raw(block: EncodedBlock, out: NDArray[np.uint8]) -> None:
    payload = np.frombuffer(memoryview(block.payload), np.uint8)
    if payload.size != out.size:
        raise FormatError(
            _name(block.form), f"{payload.size} bytes are stored for {out.size} raw ones"
        )
    out[:] = payload


def _decode_delta(
    block: EncodedBlock, base_raw: NDArray[np.uint8] | None, out: NDArray[np.uint8]
) -> None:
    form = block.form
    if base_raw is None:
        raise DamageError(_name(form), f"its base block {form.base_key.hex()} is not at hand")
    planes = _decompress(block)
    base = BaseBlock(base_raw, form.base_key, form.base_kind, form.part)
    ordered = ordered_base(base, form.kind, form.raw_length)
    if ordered is None:
        raise DamageError(
            _name(form),
            f"part {form.part} of a {form.base_kind.name} block of {base_raw.size} bytes "
            f"cannot be the base of {form.raw_length} bytes of {form.kind.name}",
        )
    front, back = BUFFERS.front[: out.size], BUFFERS.back[: out.size]
    kernels.join(planes, as_writable_words(front, form.kind))
    if ordered.positions is not None:
        zigzag = as_writable_words(back, form.kind)
        kernels.gather(as_words(front, form.kind), ordered.positions, zigzag)
        front, back = back, front
    words = as_writable_words(out, form.kind)
    magnitude = elements_of(form.kind).magnitude
    kernels.restore(ordered.words, as_words(front, form.kind), magnitude, words)


def _decompress(block: EncodedBlock) -> NDArray[np.uint8]:
    """The planes in a payload: as many bytes as the block has, no more are ever allocated."""
    form = block.form
    payload = memoryview(block.payload)
    try:
        size = zstandard.frame_content_size(payload)
        if size == form.raw_length:
            planes = BUFFERS.decompressor.decompress(payload, allow_extra_data=False)
            return np.frombuffer(planes, np.uint8)
    except zstandard.ZstdError as error:
        raise FormatError(_name(form), f"its payload is not a zstd frame ({error})") from error
    raise FormatError(
        _name(form), f"its payload claims {size} bytes, and {form.raw_length} are expected"
    )


def _is_block(size: int, kind: Kind) -> bool:
    return 0 < size <= BLOCK_BYTES and size % elements_of(kind).word.itemsize == 0


def _stored_bytes(block: EncodedBlock) -> int:
    return memoryview(block.payload).nbytes


def _exceeds(block: EncodedBlock, percent: int) -> bool:
    return 100 * _stored_bytes(block) > percent * block.form.raw_length


def _name(form: BlockForm) -> str:
    return f"Block {form.key.hex()}"
