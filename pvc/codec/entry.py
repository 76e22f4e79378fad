"""The entry of a kernel: machine code that Python can call without numba.

numba's own code calls a kernel with a pointer for the result, one for an exception, and then the
arguments: a tuple as its items; an array as two pointers to owners, its number of elements, the
bytes of one, its address, its shape and its strides.  An entry finds all that in a frame, which
holds the integers, and the addresses of the array objects.

Limits: arguments are integers, contiguous arrays, and tuples of them; the result is an integer.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DATA = object.__basicsize__
"""Where an array object holds its address; numbers of dimensions, shape and strides follow."""
_DIMENSIONS, _SHAPE, _STRIDES = DATA + 8, DATA + 16, DATA + 24


def form(argument: Any) -> object:
    """What of an argument the machine code depends on."""
    if isinstance(argument, np.ndarray):
        return argument.dtype.char, argument.ndim
    return tuple([form(item) for item in argument]) if isinstance(argument, tuple) else None


def frame(arguments: Iterable[Any]) -> list[int]:
    """What an entry is given: eight bytes for each argument."""
    values: list[int] = []
    for argument in arguments:
        if isinstance(argument, np.ndarray):
            values.append(id(argument))
        elif isinstance(argument, tuple):
            values += frame(argument)
        else:
            values.append(argument)
    return values


def numba_type(argument: Any) -> Any:
    """What numba is told of an argument; never that an array is aligned."""
    import numba

    if isinstance(argument, tuple):
        return numba.types.BaseTuple.from_types(list(map(numba_type, argument)), type(argument))
    if isinstance(argument, np.ndarray):
        dtype = numba.from_dtype(argument.dtype)
        return numba.types.Array(dtype, argument.ndim, "C", aligned=False)
    return numba.types.intp


def is_possible(arguments: Iterable[Any], inner: Any) -> bool:
    """Whether numba and numpy arrange arguments as described above.

    Args:
        arguments: of a call.
        inner: the kernel as numba compiled it, a function of an LLVM module.
    """
    arrays = [one for one in _flat(arguments) if isinstance(one, np.ndarray)]
    declared = [str(argument.type) == "ptr" for argument in inner.arguments]
    return all(map(_is_arranged, arrays)) and declared == _are_pointers(arguments)


def entry(name: str, inner: Any, arguments: Iterable[Any]) -> str:
    """The entry of a kernel, in LLVM's language.

    Args:
        name: of the entry.
        inner: the kernel as numba compiled it, a function of an LLVM module.
        arguments: of a call.
    """
    code = _Code()
    types = [str(argument.type) for argument in inner.arguments]
    passed = ["%result", "%exception"]
    for slot, argument in enumerate(_flat(arguments)):
        if isinstance(argument, np.ndarray):
            passed += code.array(8 * slot, argument)
        else:
            passed.append(code.load(types[len(passed)], "%frame", 8 * slot))
    call = ", ".join(f"{type_} {value}" for type_, value in zip(types, passed, strict=True))
    lines = (
        f"declare i32 @{inner.name}({', '.join(types)})",
        f'define i64 @"{name}"(ptr %frame) {{',
        "%result = alloca i64",
        "%exception = alloca ptr",
        "store i64 0, ptr %result",
        *code.lines,
        f"%status = call i32 @{inner.name}({call})",
        "%value = load i64, ptr %result",
        "ret i64 %value",
        "}",
    )
    return "\n".join(lines)


class _Code:
    """Lines that load arguments."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def load(self, type_: str, pointer: str, byte: int) -> str:
        """The value that lies some bytes behind a pointer."""
        name = f"%v{len(self.lines)}"
        self.lines.append(f"{name}.at = getelementptr i8, ptr {pointer}, i64 {byte}")
        self.lines.append(f"{name} = load {type_}, ptr {name}.at")
        return name

    def array(self, byte: int, argument: np.ndarray[Any, Any]) -> list[str]:
        """What is passed for the array whose object's address lies in the frame."""
        pointer = self.load("ptr", "%frame", byte)
        shape, strides = self.load("ptr", pointer, _SHAPE), self.load("ptr", pointer, _STRIDES)
        axes = range(argument.ndim)
        lengths = [self.load("i64", shape, 8 * axis) for axis in axes]
        steps = [self.load("i64", strides, 8 * axis) for axis in axes]
        size = "1"
        for length in lengths:
            product = f"%v{len(self.lines)}"
            self.lines.append(f"{product} = mul i64 {size}, {length}")
            size = product
        address = self.load("ptr", pointer, DATA)
        return ["null", "null", size, str(argument.itemsize), address, *lengths, *steps]


def _are_pointers(arguments: Iterable[Any]) -> list[bool]:
    """For each value that a kernel takes, whether it is a pointer."""
    found = [True, True]
    for argument in _flat(arguments):
        if isinstance(argument, np.ndarray):
            found += [True, True, False, False, True, *[False] * (2 * argument.ndim)]
        else:
            found.append(False)
    return found


def _is_arranged(array: np.ndarray[Any, Any]) -> bool:
    address = ctypes.c_void_p.from_address(id(array) + DATA).value
    dimensions = ctypes.c_int.from_address(id(array) + _DIMENSIONS).value
    return (address, dimensions) == (array.ctypes.data, array.ndim)


def _flat(arguments: Iterable[Any]) -> Iterator[Any]:
    for argument in arguments:
        if isinstance(argument, tuple):
            yield from _flat(argument)
        else:
            yield argument
