"""Widening of floats, against conversions of other libraries, for every pattern there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from pvc.codec import can_be_base, kernels
from pvc.codec.elements import FORMATS, REALS, as_words, as_writable_words, elements_of
from pvc_store.kinds import KIND_BY_CODE, KIND_BY_NAME

if TYPE_CHECKING:
    from numpy.typing import NDArray

TORCH = {
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F32": torch.float32,
    "F64": torch.float64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
}
WIDER = {
    "F8_E4M3": {"F16", "BF16", "F32", "F64"},
    "F8_E5M2": {"F16", "BF16", "F32", "F64"},
    "F8_E4M3FNUZ": {"F16", "BF16", "F32", "F64"},
    "F8_E5M2FNUZ": {"F16", "BF16", "F32", "F64"},
    "F16": {"F32", "F64"},
    "BF16": {"F32", "F64"},
    "F32": {"F64"},
}
EXHAUSTIVE = [(n, w) for n, wider in WIDER.items() if n != "F32" for w in sorted(wider)]


def widened(raw: NDArray[np.uint8], narrow: str, wide: str) -> NDArray[np.uint8]:
    source, target = KIND_BY_NAME[narrow], KIND_BY_NAME[wide]
    out = np.empty(raw.size * target.bits // source.bits, np.uint8)
    kernels.widen(
        as_words(raw, source), FORMATS[source], as_writable_words(out, target), FORMATS[target]
    )
    return out


def every_pattern(kind: str) -> NDArray[np.uint8]:
    bits = KIND_BY_NAME[kind].bits
    return np.arange(1 << bits, dtype=f"<u{bits // 8}").view(np.uint8)


def by_torch(raw: NDArray[np.uint8], narrow: str, wide: str) -> NDArray[np.uint8]:
    # float32 holds all of these types exactly; torch knows no direct way to some others.
    values = torch.from_numpy(raw.copy()).view(TORCH[narrow]).to(torch.float32).to(TORCH[wide])
    return values.view(torch.uint8).numpy()


def unsigned(raw: NDArray[np.uint8], kind: str) -> NDArray[np.unsignedinteger]:
    return raw.view(f"<u{KIND_BY_NAME[kind].bits // 8}")


def is_nan(raw: NDArray[np.uint8], kind: str) -> NDArray[np.bool_]:
    return torch.from_numpy(raw.copy()).view(TORCH[kind]).to(torch.float64).isnan().numpy()


@pytest.mark.parametrize(("narrow", "wide"), EXHAUSTIVE)
def test_every_number_keeps_its_value(narrow: str, wide: str) -> None:
    raw = every_pattern(narrow)
    result, expected = (f(raw, narrow, wide) for f in (widened, by_torch))
    nan = is_nan(raw, narrow)
    assert np.array_equal(nan, is_nan(result, wide))
    assert np.array_equal(unsigned(result, wide)[~nan], unsigned(expected, wide)[~nan])


@pytest.mark.parametrize(("narrow", "wide"), EXHAUSTIVE)
def test_no_two_patterns_become_one(narrow: str, wide: str) -> None:
    result = unsigned(widened(every_pattern(narrow), narrow, wide), wide)
    assert np.unique(result).size == result.size


@pytest.mark.parametrize(("narrow", "middle"), [(n, m) for n, m in EXHAUSTIVE if m != "F64"])
def test_widening_in_two_steps_is_widening_in_one(narrow: str, middle: str) -> None:
    raw = every_pattern(narrow)
    steps = widened(widened(raw, narrow, middle), middle, "F64")
    assert np.array_equal(steps, widened(raw, narrow, "F64"))


def test_float32_to_float64() -> None:
    generator = np.random.default_rng(5)
    edges = np.array([0, 1, 0x7FFFFF, 0x800000, 0x7F7FFFFF, 0x7F800000], np.uint32)
    patterns = np.concatenate([edges, generator.integers(0, 1 << 32, 20_000, np.uint32)])
    patterns = np.concatenate([patterns, patterns ^ np.uint32(1 << 31)])
    values = patterns.view(np.float32)
    nan = np.isnan(values)
    result = widened(patterns.view(np.uint8), "F32", "F64").view(np.uint64)
    with np.errstate(invalid="ignore"):
        expected = values.astype(np.float64).view(np.uint64)
    assert np.array_equal(result[~nan], expected[~nan])
    assert nan.any()
    shifted = (patterns[nan].astype(np.uint64) & 0x7FFFFF) << 29
    signs = (patterns[nan].astype(np.uint64) >> 31) << 63
    assert np.array_equal(result[nan], signs | (0x7FF << 52) | shifted)


@pytest.mark.parametrize(
    ("narrow", "pattern", "wide", "expected"),
    [
        ("BF16", 0x7F81, "F32", 0x7F810000),  # a signalling NaN stays one
        ("F16", 0xFC01, "F32", 0xFF802000),
        ("F8_E5M2", 0x7D, "F16", 0x7D00),
        ("F8_E4M3", 0xFF, "BF16", 0xFFF0),
        ("F8_E4M3FNUZ", 0x80, "BF16", 0xFFC0),
        ("F8_E5M2FNUZ", 0x80, "F32", 0xFFC00000),
    ],
)
def test_payload_of_nan_is_shifted(narrow: str, pattern: int, wide: str, expected: int) -> None:
    raw = np.array([pattern], f"<u{KIND_BY_NAME[narrow].bits // 8}").view(np.uint8)
    assert unsigned(widened(raw, narrow, wide), wide).tolist() == [expected]


@pytest.mark.parametrize("kind", ["F32", "F64"])
def test_same_format_is_copied(kind: str) -> None:
    raw = np.random.default_rng(6).integers(0, 256, 4096, np.uint8)
    assert np.array_equal(widened(raw, kind, kind), raw)


def test_which_kinds_can_be_the_base_of_which() -> None:
    found = {
        (base.name, kind.name)
        for base in KIND_BY_CODE.values()
        for kind in KIND_BY_CODE.values()
        if can_be_base(base, kind) and base != kind
    }
    assert found == {(narrow, wide) for narrow, wider in WIDER.items() for wide in wider}
    assert all(can_be_base(kind, kind) for kind in KIND_BY_CODE.values())


def test_words_are_as_wide_as_elements() -> None:
    assert {kind.name for kind in REALS} == set(TORCH)
    for kind in KIND_BY_CODE.values():
        width = 4 if kind.name == "C64" else max(8, kind.bits) // 8
        assert elements_of(kind).word.itemsize == width
