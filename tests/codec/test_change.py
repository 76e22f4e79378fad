"""Comparing blocks: exact counts, and sums that are the same everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pvc.codec import ChangeSums, measure, same
from pvc_store.block import BLOCK_BYTES
from pvc_store.kinds import BYTES, KIND_BY_CODE, KIND_BY_NAME, Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

K = KIND_BY_NAME
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


def as_kind(values: NDArray[np.float64], kind: str) -> NDArray[np.uint8]:
    return torch.from_numpy(values).float().to(TORCH[kind]).view(torch.uint8).numpy()


def as_values(raw: NDArray[np.uint8], kind: str) -> NDArray[np.float64]:
    return torch.from_numpy(raw).view(TORCH[kind]).to(torch.float32).to(torch.float64).numpy()


class TestSame:
    @given(st.binary(max_size=100), st.sampled_from([1, 90, 300]))
    def test_equal_bytes(self, data: bytes, repeat: int) -> None:
        a = np.frombuffer(data * repeat, np.uint8)
        assert same(a, a.copy())

    @pytest.mark.parametrize("size", [1, 7, 8, 9, 4096, 8191, 8192, 8193, 20_000])
    def test_any_differing_byte_is_seen(self, size: int) -> None:
        a = np.arange(size).astype(np.uint8)
        for position in {0, size // 2, size - 1, min(size - 1, 8191)}:
            b = a.copy()
            b[position] ^= 0x80
            assert not same(a, b)
            assert not same(b, a)

    def test_other_lengths_differ(self) -> None:
        a = np.zeros(16, np.uint8)
        assert not same(a, a[:8])
        assert not same(a[:8], a)

    def test_unaligned_and_empty(self) -> None:
        a = np.arange(101).astype(np.uint8)
        assert same(a[1:], a[1:].copy())
        assert same(a[:0], a[:0])


@pytest.mark.parametrize("kind", sorted(TORCH))
@pytest.mark.parametrize("base_kind", sorted(TORCH))
def test_floats_of_any_two_kinds(kind: str, base_kind: str) -> None:
    generator = np.random.default_rng(1)
    values = generator.normal(0, 1, 3001)
    base = as_kind(values, base_kind)
    moved = values + generator.normal(0, 0.1, 3001) * (generator.random(3001) < 0.5)
    new = as_kind(as_values(base, base_kind) if kind == base_kind else values, kind)
    new = np.where(np.repeat(moved == values, K[kind].bits // 8), new, as_kind(moved, kind))
    old_values, new_values = as_values(base, base_kind), as_values(new, kind)
    tau = new_values - old_values
    if "F64" not in {kind, base_kind}:
        tau = tau.astype(np.float32).astype(np.float64)
    change = measure(new, K[kind], base, K[base_kind])
    assert (change.elements, change.nonfinite) == (3001, 0)
    # -0 becomes 0 in some kinds: bits decide, not values
    assert change.changed == np.count_nonzero(
        new_values.view(np.int64) != old_values.view(np.int64)
    )
    assert change.tau_square == pytest.approx(np.sum(tau**2), rel=1e-12)
    assert change.base_square == pytest.approx(np.sum(old_values**2), rel=1e-12)


@pytest.mark.parametrize("elements", [1, 255, 256, 1023, 1024, 1025, BLOCK_BYTES // 2])
@pytest.mark.parametrize("kind", ["BF16", "F32"])
def test_blocks_of_any_length(kind: str, elements: int) -> None:
    elements = min(elements, BLOCK_BYTES * 8 // K[kind].bits)
    base = as_kind(np.ones(elements), kind)
    new = as_kind(np.full(elements, 3.0), kind)
    new[: K[kind].bits // 8] = base[: K[kind].bits // 8]
    assert measure(new, K[kind], base, K[kind]) == ChangeSums(
        elements, elements - 1, 4.0 * (elements - 1), float(elements)
    )


def test_bits_count_as_changed_where_values_are_equal() -> None:
    base = np.array([0.0, -0.0, np.nan, 1.0], np.float32)
    new = np.array([-0.0, -0.0, np.nan, 1.0], np.float32)
    assert measure(new.view(np.uint8), K["F32"], base.view(np.uint8), K["F32"]) == ChangeSums(
        4, 1, 0.0, 1.0
    )


def test_infinities_and_nans_are_counted_and_left_out() -> None:
    inf, nan = np.inf, np.nan
    base = np.array([1, 1, 1, inf, inf, nan, -inf, 2], np.float64)
    new = np.array([inf, nan, 4, inf, 1, nan, inf, 2], np.float64)
    expected = ChangeSums(8, 5, 9.0, 7.0, nonfinite=2)
    for kind in ("F64", "F32", "F16", "BF16", "F8_E5M2"):
        assert measure(as_kind(new, kind), K[kind], as_kind(base, kind), K[kind]) == expected
        change = measure(as_kind(new, kind), K[kind], as_kind(base, "BF16"), K["BF16"])
        assert (change.tau_square, change.base_square, change.nonfinite) == (9.0, 7.0, 2)


def test_a_difference_beyond_float32_is_left_out() -> None:
    largest = np.array([3.3e38, 2.0], np.float32)
    change = measure((-largest).view(np.uint8), K["F32"], largest.view(np.uint8), K["F32"])
    assert change == ChangeSums(2, 2, 16.0, float(largest[0]) ** 2 + 4.0)


def test_nonfinite_elements_of_several_pieces_are_summed() -> None:
    base = np.zeros(BLOCK_BYTES, np.uint8)
    new = base.copy()
    new[[3, 300_000, 600_000, 900_000, 1_048_575]] = [0x7F, 0x38, 0xFF, 0x38, 0x38]
    assert measure(new, K["F8_E4M3"], base, K["F8_E4M3"]) == ChangeSums(
        BLOCK_BYTES, 5, 3.0, 0.0, nonfinite=2
    )


@pytest.mark.parametrize("name", ["I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64"])
def test_integers(name: str) -> None:
    dtype = np.dtype(f"{name[0].lower()}{int(name[1:]) // 8}")
    limits = np.iinfo(dtype)
    base = np.array([limits.min, 5, 7, limits.max] * 200, dtype)
    new = np.array([limits.min, 9, 4, limits.min] * 200, dtype)
    tau = new.astype(np.float64) - base.astype(np.float64)
    change = measure(new.view(np.uint8), K[name], base.view(np.uint8), K[name])
    assert (change.elements, change.changed, change.nonfinite) == (800, 600, 0)
    assert change.tau_square == pytest.approx(np.sum(tau**2), rel=1e-12)
    assert change.base_square == pytest.approx(np.sum(base.astype(np.float64) ** 2), rel=1e-12)


def test_large_integers_that_are_one_float64_still_differ() -> None:
    base = np.array([1 << 62], np.int64)
    change = measure((base + 1).view(np.uint8), K["I64"], base.view(np.uint8), K["I64"])
    assert (change.changed, change.tau_square) == (1, 0.0)


@pytest.mark.parametrize("kind", [BYTES, K["BOOL"], K["F4"], K["F6_E2M3"], K["F8_E8M0"]])
def test_kinds_without_numbers_are_compared_byte_by_byte(kind: Kind) -> None:
    base = np.arange(100).astype(np.uint8)
    new = base.copy()
    new[10:13] ^= 1
    assert measure(new, kind, base, kind) == ChangeSums(100, 3)


@pytest.mark.parametrize(("kind", "base_kind"), [("I32", "F32"), ("F32", "I32"), ("C64", "F32")])
def test_kinds_with_nothing_in_common_change_everywhere(kind: str, base_kind: str) -> None:
    raw = np.zeros(80, np.uint8)
    assert measure(raw, K[kind], raw, K[base_kind]) == ChangeSums(20, 20)


def test_complex_numbers_count_as_their_parts() -> None:
    base = np.array([1 + 2j, 3], np.complex64)
    new = np.array([1 + 4j, 3], np.complex64)
    assert measure(new.view(np.uint8), K["C64"], base.view(np.uint8), K["C64"]) == ChangeSums(
        4, 1, 4.0, 14.0
    )


def test_numbers_of_elements_must_agree() -> None:
    with pytest.raises(ValueError, match="8 bytes of F32 and 8 bytes of BF16"):
        measure(np.zeros(8, np.uint8), K["F32"], np.zeros(8, np.uint8), K["BF16"])


def test_every_kind_is_measured() -> None:
    raw = np.zeros(48, np.uint8)
    for kind in KIND_BY_CODE.values():
        assert measure(raw, kind, raw, kind).changed == 0


def test_changes_add_up() -> None:
    assert ChangeSums(1, 2, 3.0, 4.0, 5) + ChangeSums(10, 20, 30.0, 40.0, 50) == ChangeSums(
        11, 22, 33.0, 44.0, 55
    )
    assert ChangeSums() + ChangeSums(3, 2, 1.0, 1.0, 1) == ChangeSums(3, 2, 1.0, 1.0, 1)


@pytest.mark.parametrize(("kind", "rows"), [("BF16", 4), ("F32", 4), ("F64", 4), ("I32", 1)])
def test_sums_are_taken_in_a_fixed_order(kind: str, rows: int) -> None:
    """Bit for bit what the documented order gives, in one IEEE operation after the other."""
    generator = np.random.default_rng(9)
    if kind == "I32":
        new, base = (generator.integers(-(1 << 30), 1 << 30, 5000, np.int32) for _ in range(2))
        values = [x.astype(np.float64) for x in (new, base)]
    else:
        spread = 10.0 ** generator.integers(-9, 9, 5000)  # so that the order matters
        new, base = (as_kind(generator.normal(0, spread), kind) for _ in range(2))
        if kind == "F64":
            new[::8] = base[::8] = 0x55
        number = np.float64 if kind == "F64" else np.float32
        values = [
            x.view(number) if kind == "F64" else as_values(x, kind).astype(number)
            for x in (new, base)
        ]
    tau = (values[0] - values[1]).astype(np.float64)
    change = measure(new.view(np.uint8), K[kind], base.view(np.uint8), K[kind])
    found = change.tau_square, change.base_square
    assert found == (in_order(tau, rows), in_order(values[1].astype(np.float64), rows))
    assert found != (np.sum(tau**2), np.sum(values[1].astype(np.float64) ** 2))


def in_order(numbers: NDArray[np.float64], rows: int) -> float:
    strips = np.zeros(-(-numbers.size // (256 * rows)) * 256 * rows)
    strips[: numbers.size] = numbers
    sums = np.zeros(256)
    for strip in strips.reshape(-1, rows, 256):
        squares = np.zeros(256)
        for row in strip:
            squares = squares + row * row
        sums = sums + squares
    total = 0.0
    for each in sums.tolist():
        total += each
    return total
