"""The stored planes, against a slow implementation of docs/format/block.md on Python integers."""

from __future__ import annotations

import struct
from hashlib import shake_128

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pvc.codec import BaseBlock, block, can_be_base
from pvc_store.ids import block_key
from pvc_store.kinds import KIND_BY_CODE, KIND_BY_NAME, Kind

KEYS = {  # lowest bit and number of bits of the key
    "BF16": (7, 8),
    "F16": (7, 8),
    "F32": (23, 8),
    "C64": (23, 8),
    "F64": (55, 8),
    "F8_E4M3": (3, 4),
    "F8_E4M3FNUZ": (3, 4),
    "F8_E5M2": (2, 5),
    "F8_E5M2FNUZ": (2, 5),
}
PAIRS = [
    (kind, base)
    for kind in KIND_BY_CODE.values()
    for base in KIND_BY_CODE.values()
    if can_be_base(base, kind)
]


def word_bits(kind: Kind) -> int:
    return 32 if kind.name == "C64" else max(8, kind.bits)


def words(raw: bytes, bits: int) -> list[int]:
    size = bits // 8
    return [int.from_bytes(raw[i : i + size], "little") for i in range(0, len(raw), size)]


def number(word: int, kind: Kind) -> float:
    """The finite number that a word of up to 32 bits stands for."""
    if kind.name == "BF16":
        return float(struct.unpack("<f", struct.pack("<I", word << 16))[0])
    if kind.name in {"F16", "F32"}:
        letters = {"F16": "<He", "F32": "<If"}[kind.name]
        return float(struct.unpack("<" + letters[2], struct.pack(letters[:2], word))[0])
    mantissa = KEYS[kind.name][0]
    bias = {"F8_E4M3": 7, "F8_E5M2": 15, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 16}[kind.name]
    exponent, fraction = (word & 0x7F) >> mantissa, word & ((1 << mantissa) - 1)
    size = fraction / (1 << mantissa) + (exponent > 0)
    return (-1 if word & 0x80 else 1) * size * 2.0 ** (max(exponent, 1) - bias)


def is_finite(word: int, kind: Kind) -> bool:
    if kind.name.endswith("FNUZ"):
        return word != 0x80
    first = {"BF16": 0x7F80, "F16": 0x7C00, "F32": 0x7F800000, "F8_E4M3": 0x7F, "F8_E5M2": 0x7C}
    return word & ((1 << kind.bits - 1) - 1) < first[kind.name]


def widened(word: int, narrow: Kind, wide: Kind) -> int:
    if narrow == wide:
        return word
    if is_finite(word, narrow):
        value = number(word, narrow)
        if wide.name == "BF16":
            return int.from_bytes(struct.pack("<f", value), "little") >> 16
        letter = {"F16": "e", "F32": "f", "F64": "d"}[wide.name]
        return int.from_bytes(struct.pack("<" + letter, value), "little")
    infinity = {"F16": 0x7C00, "BF16": 0x7F80, "F32": 0x7F800000, "F64": 0x7FF << 52}[wide.name]
    mantissa = {"F16": 10, "BF16": 7, "F32": 23, "F64": 52}
    if narrow.name.endswith("FNUZ"):
        return 1 << (wide.bits - 1) | infinity | 1 << (mantissa[wide.name] - 1)
    bits = {**mantissa, "F8_E4M3": 3, "F8_E5M2": 2}[narrow.name]
    payload = (word & ((1 << bits) - 1)) << (mantissa[wide.name] - bits)
    return word >> (narrow.bits - 1) << (wide.bits - 1) | infinity | payload


def ordered(word: int, bits: int) -> int:
    top = 1 << (bits - 1)
    return (1 << bits) - 1 - word if word & top else word + top


def zigzag(new: int, base: int, bits: int) -> int:
    distance = (new - base) % (1 << bits)
    if distance >= 1 << (bits - 1):
        return 2 * ((1 << bits) - distance) - 1
    return 2 * distance


def planes(values: list[int], bits: int) -> bytes:
    return bytes(value >> shift & 0xFF for shift in range(0, bits, 8) for value in values)


def delta_planes(raw: bytes, kind: Kind, base_raw: bytes, base_kind: Kind) -> bytes:
    bits = word_bits(kind)
    new = words(raw, bits)
    base = [widened(w, base_kind, kind) for w in words(base_raw, word_bits(base_kind))]
    if kind.name not in KEYS:
        return planes([zigzag(n, b, bits) for n, b in zip(new, base, strict=True)], bits)
    steps = [
        zigzag(ordered(n, bits), ordered(b, bits), bits) for n, b in zip(new, base, strict=True)
    ]
    low, width = KEYS[kind.name]
    order = sorted(range(len(base)), key=lambda i: base[i] >> low & ((1 << width) - 1))
    return planes([steps[i] for i in order], bits)


def stored_planes(raw: bytes, kind: Kind, base_raw: bytes | None, base_kind: Kind) -> bytes:
    array = np.frombuffer(raw, np.uint8)
    key = block_key(raw)
    if base_raw is None:
        encoded = block._encode_planes(array, key, kind)
    else:
        base = BaseBlock(np.frombuffer(base_raw, np.uint8), block_key(base_raw), base_kind)
        delta = block._encode_delta(array, key, kind, base)
        assert delta is not None
        encoded = delta
    out = np.empty(array.size, np.uint8)
    block.decode(encoded, None if base_raw is None else np.frombuffer(base_raw, np.uint8), out)
    assert out.tobytes() == raw
    return zstandard.decompress(bytes(encoded.payload))


@pytest.mark.parametrize(("kind", "base_kind"), PAIRS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("elements", [1, 2, 1021])
def test_delta_planes(kind: Kind, base_kind: Kind, elements: int) -> None:
    name = f"{kind.name} over {base_kind.name} {elements}".encode()
    width = kind.bits // base_kind.bits if kind != base_kind else 1
    size = elements * (8 if kind.name == "C64" else word_bits(kind) // 8)
    raw = shake_128(b"new " + name).digest(size)
    base_raw = shake_128(b"base " + name).digest(size // width)
    assert stored_planes(raw, kind, base_raw, base_kind) == delta_planes(
        raw, kind, base_raw, base_kind
    )


@given(st.data())
def test_delta_planes_of_edges(data: st.DataObject) -> None:
    """Zeros, the largest and smallest patterns, and values that differ by one step or none."""
    kind = data.draw(st.sampled_from([k for k, b in PAIRS if k == b]), "kind")
    bits = word_bits(kind)
    edges = [0, 1, 1 << (bits - 1), (1 << (bits - 1)) - 1, (1 << bits) - 1]
    any_word = st.sampled_from(edges) | st.integers(0, (1 << bits) - 1)
    base = data.draw(st.lists(any_word, min_size=2, max_size=30), "base")
    base = base[: len(base) // 2 * 2]  # whole complex numbers
    steps = data.draw(st.lists(st.integers(-2, 2), min_size=len(base), max_size=len(base)), "steps")
    new = [(w + s) % (1 << bits) for w, s in zip(base, steps, strict=True)]
    raw, base_raw = (b"".join(w.to_bytes(bits // 8, "little") for w in ws) for ws in (new, base))
    assert stored_planes(raw, kind, base_raw, kind) == delta_planes(raw, kind, base_raw, kind)


@pytest.mark.parametrize("kind", KIND_BY_CODE.values(), ids=lambda kind: kind.name)
def test_planes_without_a_base(kind: Kind) -> None:
    raw = shake_128(kind.name.encode()).digest(8 * 125)
    bits = word_bits(kind)
    assert stored_planes(raw, kind, None, kind) == planes(words(raw, bits), bits)


def test_widening_of_the_reference_meets_the_interesting_cases() -> None:
    e5m2fnuz, f16 = KIND_BY_NAME["F8_E5M2FNUZ"], KIND_BY_NAME["F16"]
    assert widened(0x01, e5m2fnuz, f16) == 0x0080  # 2^-17, subnormal in F16 too
    assert widened(0x04, e5m2fnuz, f16) == 0x0200  # 2^-15, normal there, subnormal in F16
