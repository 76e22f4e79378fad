"""The signature of a kernel: the types of the arguments that it is compiled for.

array   dtype, one or two dimensions, contiguous; whether it may be written to
int     64 bits, signed
float   64 bits
tuple   of those, or a named tuple of them
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class ArrayType(NamedTuple):
    """Type of a contiguous array."""

    dtype: np.dtype[Any]
    ndim: int
    is_readonly: bool

    def __str__(self) -> str:
        return f"{'readonly ' * self.is_readonly}{self.dtype.str}[{self.ndim}]"


class NumberType(NamedTuple):
    """Type of an int or a float."""

    is_float: bool

    def __str__(self) -> str:
        return "float" if self.is_float else "int"


ItemType: TypeAlias = ArrayType | NumberType


class TupleType(NamedTuple):
    """Type of a tuple."""

    maker: type[tuple[Any, ...]]
    items: tuple[ItemType, ...]

    def __str__(self) -> str:
        names = getattr(self.maker, "_fields", ())
        return f"{self.maker.__name__}{names}({', '.join(map(str, self.items))})"


Type: TypeAlias = ItemType | TupleType


def types_of(arguments: Iterable[object]) -> tuple[Type, ...]:
    """The types of a kernel's arguments.

    Raises:
        TypeError: a kernel cannot take one of them.
    """
    return tuple(
        TupleType(type(one), tuple(map(_item, one))) if isinstance(one, tuple) else _item(one)
        for one in arguments
    )


def items_of(types: Iterable[Type]) -> Iterator[ItemType]:
    """The types, with those of a tuple's items in its place."""
    for one in types:
        if isinstance(one, TupleType):
            yield from one.items
        else:
            yield one


def _item(value: object) -> ItemType:
    if isinstance(value, np.ndarray):
        if not (value.flags.c_contiguous and value.ndim in {1, 2} and value.dtype.isnative):
            raise TypeError(
                f"Kernels take contiguous arrays of one or two dimensions, not one of "
                f"{value.dtype.str} with shape {value.shape} and strides {value.strides}"
            )
        return ArrayType(value.dtype, value.ndim, not value.flags.writeable)
    if isinstance(value, int | float):
        return NumberType(isinstance(value, float))
    raise TypeError(f"Kernels take arrays, ints, floats and tuples of them, not {type(value)}")
