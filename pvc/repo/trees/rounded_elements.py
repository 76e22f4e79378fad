"""Elements of a stored tensor, rounded to another kind of real floats."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pvc.codec.numbers import float_type, from_numbers, is_real, to_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pvc.repo.trees.blocks import Blocks
    from pvc_store.kinds import Kind
    from pvc_store.tree import Tensor

    Bytes = NDArray[np.uint8]


def can_round(one: Tensor, two: Tensor) -> bool:
    """Whether both hold real floats, and as many."""
    return one.shape == two.shape and is_real(one.kind) and is_real(two.kind)


def rounded_elements(blocks: Blocks, tensor: Tensor, at: int, count: int, kind: Kind) -> Bytes:
    """`count` elements of a tensor from `at` on, rounded to another kind; a copy."""
    width = tensor.kind.bits // 8
    raw = blocks.elements(tensor, at * width, count * width).copy()
    if tensor.kind == kind:
        return raw
    numbers = np.empty(count, float_type(tensor.kind, kind))
    to_numbers(raw, tensor.kind, numbers)
    if numbers.itemsize == kind.bits // 8:
        return numbers.view(np.uint8)
    out = np.empty(count * kind.bits // 8, np.uint8)
    from_numbers(numbers, kind, out)
    return out


def as_float64(
    blocks: Blocks, tensor: Tensor, at: int, count: int, kind: Kind
) -> NDArray[np.float64]:
    """The same as float64, exactly; at most an eighth of a block's bytes of them."""
    raw = rounded_elements(blocks, tensor, at, count, kind)
    numbers = np.empty(count, np.float64)
    to_numbers(raw, kind, numbers)
    return numbers
