"""Blocks as numbers and back, against torch, and against rounding among all numbers of a kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pvc.codec.elements import FORMATS
from pvc.codec.numbers import (
    Floats,
    float_type,
    from_numbers,
    is_real,
    keep_untouched,
    to_numbers,
    upper_words,
)
from pvc_store.kinds import KIND_BY_CODE, KIND_BY_NAME

TORCH = {
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F32": torch.float32,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
}
NARROW = [name for name in TORCH if name != "F32"]
F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
FLOATS: list[np.dtype[Any]] = [F32, F64]
SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 448, 464, 465, 240, 57344, 65520])
Patterns = NDArray[np.unsignedinteger[Any]]


def patterns(raw: NDArray[np.uint8], kind: str) -> Patterns:
    found: Patterns = raw.view(f"<u{KIND_BY_NAME[kind].bits // 8}")
    return found


def every_pattern(kind: str) -> NDArray[np.uint8]:
    bits = KIND_BY_NAME[kind].bits
    return np.arange(1 << bits, dtype=f"<u{bits // 8}").view(np.uint8)


def numbers_of(raw: NDArray[np.uint8], kind: str, dtype: np.dtype[Any]) -> Floats:
    out = np.empty(patterns(raw, kind).size, dtype)
    to_numbers(raw, KIND_BY_NAME[kind], out)
    return out


def written(numbers: Floats, kind: str) -> NDArray[np.uint8]:
    out = np.empty(numbers.size * KIND_BY_NAME[kind].bits // 8, np.uint8)
    from_numbers(numbers, KIND_BY_NAME[kind], out)
    return out


def by_torch(raw: NDArray[np.uint8], kind: str) -> NDArray[np.float32]:
    return torch.from_numpy(raw.copy()).view(TORCH[kind]).to(torch.float32).numpy()


def cast_by_torch(numbers: Floats, kind: str) -> Patterns:
    cast = torch.from_numpy(numbers.copy()).to(TORCH[kind]).view(torch.uint8)
    return patterns(cast.numpy(), kind)


@pytest.mark.parametrize("dtype", FLOATS)
def test_upper_words_are_the_upper_bits_of_the_numbers(dtype: np.dtype[Any]) -> None:
    raw = np.arange(1 << 16, dtype=np.uint16).view(np.uint8)
    found = set()
    for kind in [*TORCH, *(["F64"] if dtype == F64 else [])]:
        words = upper_words(raw, KIND_BY_NAME[kind], dtype)
        if words is not None:
            found.add(kind)
            upper = words.astype(f"<i{dtype.itemsize}") << 8 * (dtype.itemsize - words.itemsize)
            assert np.array_equal(upper, numbers_of(raw, kind, dtype).view(upper.dtype))
    assert found == ({"F64"} if dtype == F64 else {"BF16", "F32"})


def magnitudes(kind: str) -> NDArray[np.float64]:
    """All numbers of a kind from 0 up, and what would follow the largest."""
    special = FORMATS[KIND_BY_NAME[kind]].special
    unsigned = every_pattern(kind)[: special * KIND_BY_NAME[kind].bits // 8]
    finite = by_torch(unsigned, kind).astype(np.float64)
    return np.append(finite, 2 * finite[-1] - finite[-2])


def nearest(numbers: NDArray[np.float64], kind: str) -> NDArray[np.int64]:
    """The nearest magnitude of each number; of two that are as near, the even one."""
    table = magnitudes(kind)
    middles = (table[:-1] + table[1:]) / 2  # exact: a bit more than the kind has is enough
    below = np.searchsorted(middles, np.abs(numbers))
    tied = middles[np.minimum(below, middles.size - 1)] == np.abs(numbers)
    even: NDArray[np.int64] = below + (tied & (below % 2 == 1))
    return even


def samples(kind: str) -> NDArray[np.float64]:
    """Numbers in, around and beyond the range of a kind: at random, and halfway between two."""
    table = magnitudes(kind)
    middles = (table[:-1] + table[1:]) / 2
    generator = np.random.default_rng(1)
    spread = np.exp(generator.uniform(np.log(table[1]) - 3, np.log(table[-1]) + 1, 20_000))
    edges = [np.nextafter(middles, 0), middles, np.nextafter(middles, np.inf), table]
    positive = np.concatenate([spread, *edges])
    return np.concatenate([positive, -positive])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", NARROW)
def test_reading_agrees_with_torch(kind: str, dtype: np.dtype[Any]) -> None:
    raw = every_pattern(kind)
    expected = by_torch(raw, kind)
    assert np.array_equal(numbers_of(raw, kind, dtype), expected, equal_nan=True)
    nan = np.isnan(expected)
    signs = np.signbit(numbers_of(raw, kind, dtype))
    assert np.array_equal(signs[~nan], np.signbit(expected)[~nan])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", NARROW)
def test_what_was_read_is_written_back(kind: str, dtype: np.dtype[Any]) -> None:
    raw = every_pattern(kind)
    numbers = numbers_of(raw, kind, dtype)
    kept = ~np.isnan(numbers)
    back = patterns(written(numbers, kind), kind)
    assert np.array_equal(back[kept], patterns(raw, kind)[kept])
    assert np.unique(back[~kept]).size == 1
    assert np.isnan(by_torch(written(numbers, kind), kind)[~kept]).all()


@pytest.mark.parametrize("kind", TORCH)
def test_writing_float32_agrees_with_torch(kind: str) -> None:
    drawn = np.random.default_rng(2).integers(0, 1 << 32, 50_000, np.uint32).view(np.float32)
    with np.errstate(over="ignore"):
        inside = samples(kind).astype(np.float32) if kind != "F32" else drawn
    numbers = np.concatenate([drawn, inside, SPECIAL.astype(np.float32)])
    if kind == "F8_E4M3":  # torch has changed what becomes of larger numbers
        numbers = numbers[np.abs(numbers) <= 448]
    expected, result = cast_by_torch(numbers, kind), patterns(written(numbers, kind), kind)
    nan = np.isnan(by_torch(expected.view(np.uint8), kind))
    assert np.array_equal(result[~nan], expected[~nan])
    assert np.isnan(by_torch(result.view(np.uint8), kind)[nan]).all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", NARROW)
def test_the_nearest_number_is_written(kind: str, dtype: np.dtype[Any]) -> None:
    number = FORMATS[KIND_BY_NAME[kind]]
    with np.errstate(over="ignore"):
        numbers = samples(kind).astype(dtype)
    expected = nearest(numbers.astype(np.float64), kind)
    result = patterns(written(numbers, kind), kind)
    finite = expected < number.special
    sign = np.signbit(numbers) & ((expected > 0) | number.has_negative_zero)
    signed = expected | sign.astype(np.int64) << (number.bits - 1)
    assert np.array_equal(result[finite], signed[finite])
    assert (~finite).any()
    assert not np.isfinite(by_torch(result.view(np.uint8), kind)[~finite]).any()


@pytest.mark.parametrize("kind", ["BF16", "F32"])
def test_float64_is_rounded_once(kind: str) -> None:
    step = 2.0 ** -FORMATS[KIND_BY_NAME[kind]].mantissa_bits
    numbers = np.array([1 + step / 2 + 2.0**-50, 1 + step / 2, 1 + 3 * step / 2 - 2.0**-50])
    expected = [1 + step, 1, 1 + step]
    assert numbers_of(written(numbers, kind), kind, F64).tolist() == expected


def test_float64_agrees_with_numpy() -> None:
    drawn = np.random.default_rng(3).integers(0, 1 << 64, 20_000, np.uint64).view(np.float64)
    numbers = np.concatenate([drawn, samples("F16"), SPECIAL, np.ldexp(1.5, np.arange(-152, -120))])
    for kind, dtype in (("F16", np.float16), ("F32", np.float32), ("F64", np.float64)):
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            expected = numbers.astype(dtype)
        result = written(numbers, kind).view(dtype)
        assert np.array_equal(result, expected, equal_nan=True)
        assert np.array_equal(np.signbit(result), np.signbit(expected) & ~np.isnan(expected))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", TORCH)
def test_every_nan_becomes_the_same(kind: str, dtype: np.dtype[Any]) -> None:
    top = dtype.itemsize * 8 - 1
    infinity = int(np.array(np.inf, dtype).view(f"u{dtype.itemsize}"))
    found = [infinity + 1, infinity + 99, (1 << top) - 1, (1 << top) + infinity + 1]
    numbers = np.array(found, f"u{dtype.itemsize}").view(dtype)
    result = written(numbers, kind)
    assert np.isnan(by_torch(result, kind)).all()
    assert np.unique(patterns(result, kind)).size == 1


@pytest.mark.parametrize("kind", ["BF16", "F16", "F32", "F8_E5M2", "F8_E4M3"])
def test_untouched_elements_keep_their_bits(kind: str) -> None:
    raw = np.random.default_rng(4).integers(0, 256, 4000, np.uint8)
    numbers = numbers_of(raw[::-1].copy(), kind, F32)
    touched = np.random.default_rng(5).integers(0, 2, numbers.size, np.uint8)
    out = written(numbers, kind)
    new = patterns(out, kind).copy()
    keep_untouched(raw, KIND_BY_NAME[kind], touched, out)
    expected = np.where(touched == 1, new, patterns(raw, kind))
    assert np.array_equal(patterns(out, kind), expected)


def test_which_kinds_are_computed_in_what() -> None:
    f64, bf16, f16 = (KIND_BY_NAME[name] for name in ("F64", "BF16", "F16"))
    assert {k.name for k in KIND_BY_CODE.values() if is_real(k)} == {*TORCH, "F64"}
    assert float_type(bf16, f16) == np.float32
    assert float_type(bf16, f64) == np.float64


def test_sizes_are_checked() -> None:
    raw, numbers = np.zeros(6, np.uint8), np.zeros(4, np.float32)
    with pytest.raises(ValueError, match="6 bytes of BF16 are not 4 elements"):
        to_numbers(raw, KIND_BY_NAME["BF16"], numbers)
    with pytest.raises(ValueError, match="4 elements are not 6 bytes of BF16"):
        from_numbers(numbers, KIND_BY_NAME["BF16"], raw)
