"""Blocks as floating-point numbers, and numbers as blocks, rounded once.

Arithmetic on weights is done in float32, or in float64 where a tensor needs it.  Every number of a
real kind that is no wider is exact there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pvc.codec import kernels, rounding
from pvc.codec.elements import (
    FORMATS,
    REALS,
    FloatFormat,
    Words,
    as_words,
    as_writable_words,
)
from pvc_store.kinds import KIND_BY_NAME

if TYPE_CHECKING:
    from pvc_store.kinds import Kind

Floats: TypeAlias = NDArray[np.floating[Any]]

_F32 = KIND_BY_NAME["F32"]
_F64 = KIND_BY_NAME["F64"]


def is_real(kind: Kind) -> bool:
    """Whether elements of `kind` are real floating-point numbers, which arithmetic is done on."""
    return kind in REALS


def float_type(*kinds: Kind) -> np.dtype[np.floating[Any]]:
    """What tensors of these kinds are computed in: float64 if one of them is F64, else float32."""
    return np.dtype(np.float64 if _F64 in kinds else np.float32)


def to_numbers(raw: NDArray[np.uint8], kind: Kind, out: Floats) -> None:
    """Read the elements of a block as numbers, exactly.

    Args:
        raw: bytes of the block.
        kind: a real kind, no wider than `out`.
        out: float32 or float64, one for each element.

    Raises:
        ValueError: the sizes do not fit.
    """
    wide = _kind_of(out)
    if raw.size * 8 != out.size * kind.bits:
        raise ValueError(f"{raw.size} bytes of {kind.name} are not {out.size} elements")
    source, target = FORMATS[kind], FORMATS[wide]
    words = as_writable_words(out.view(np.uint8), wide)
    if kind == wide:
        words[:] = as_words(raw, kind)
    elif target.extends(source):
        rounding.extend(as_words(raw, kind), target.mantissa_bits - source.mantissa_bits, words)
    else:
        kernels.widen(as_words(raw, kind), source, words, target)


def upper_words(raw: NDArray[np.uint8], kind: Kind, dtype: np.dtype[Any]) -> Words | None:
    """The elements of a block as they are, if each is the upper bits of its number.

    Args:
        raw: bytes of the block.
        kind: a real kind, no wider than `dtype`.
        dtype: the type of the numbers, float32 or float64.

    Returns:
        A view of `raw`; None if the numbers have to be computed.
    """
    wide = FORMATS[_F64 if dtype == np.float64 else _F32]
    return as_words(raw, kind) if wide.extends(FORMATS[kind]) else None


def from_numbers(numbers: Floats, kind: Kind, out: NDArray[np.uint8]) -> None:
    """Write numbers as the elements of a block, rounded to nearest, ties to even.

    What exceeds the largest number of `kind` becomes Inf, or NaN where the kind has no Inf.  Every
    NaN becomes the same one, because processors differ in the NaN that they make.

    Args:
        numbers: float32 or float64.
        kind: a real kind, no wider than `numbers`.
        out: receives the bytes.

    Raises:
        ValueError: the sizes do not fit.
    """
    wide = _kind_of(numbers)
    if out.size * 8 != numbers.size * kind.bits:
        raise ValueError(f"{numbers.size} elements are not {out.size} bytes of {kind.name}")
    source, target = FORMATS[wide], FORMATS[kind]
    words = as_words(numbers.view(np.uint8), wide)
    narrow = as_writable_words(out, kind)
    bits = source.mantissa_bits - target.mantissa_bits
    if source.extends(target) and bits:
        rounding.shorten(words, bits, source.special, _nan(target), narrow)
    else:
        rounding.round_to(words, source, narrow, target, (_overflow(target), _nan(target)))


def has_nonfinite(raw: NDArray[np.uint8], kind: Kind) -> bool:
    """Whether a block of a real kind holds Inf or NaN."""
    number, words = FORMATS[kind], as_words(raw, kind)
    if not number.has_negative_zero:  # its only NaN has the pattern of -0
        return bool(np.any(words == np.iinfo(words.dtype).min))
    magnitude = int(np.iinfo(words.dtype).max)
    found = np.zeros(1, np.uint8)
    rounding.find_special(words, magnitude, number.special, found)
    return bool(found[0])


def largest_number(kind: Kind) -> float:
    """The largest finite number of a real kind."""
    number = FORMATS[kind]
    top = number.special - 1 if number.has_negative_zero else (1 << number.bits - 1) - 1
    raw = np.array([top], as_words(np.zeros(number.bits // 8, np.uint8), kind).dtype)
    out = np.empty(1, np.float64)
    to_numbers(raw.view(np.uint8), kind, out)
    return float(out[0])


def keep_untouched(
    start: NDArray[np.uint8], kind: Kind, touched: NDArray[np.uint8], out: NDArray[np.uint8]
) -> None:
    """Give the elements of `out` that were not touched the bits that they have in `start`."""
    rounding.restore_untouched(as_words(start, kind), touched, as_writable_words(out, kind))


def _kind_of(numbers: Floats) -> Kind:
    return _F64 if numbers.dtype == np.float64 else _F32


def _nan(number: FloatFormat) -> int:
    """The quiet NaN without a sign, as a signed word."""
    if not number.has_negative_zero:
        return -number.special  # the pattern of -0
    return number.special | 1 << (number.mantissa_bits - 1)


def _overflow(number: FloatFormat) -> int:
    """Inf where there is one, else NaN; for formats without -0 the NaN has the sign bit alone."""
    has_infinity = number.special == ((1 << number.exponent_bits) - 1) << number.mantissa_bits
    return number.special if has_infinity else _nan(number)
