"""The compiler: numba makes machine code of a kernel.

numba compiles an entry around the kernel, in which the kernel is inlined:

    def entry(a0, a1, a2): kernel(read0(a0), read1(a1), Pair(a2, a3))

An array comes as the address of the Python object.  Its fields are part of numpy's binary
interface; they say where elements and shape are, and whether the array is what was compiled for.

Importing this imports numba.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numba
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from pvc.jit.machine import ObjectError, make_object
from pvc.jit.signature import ArrayType, ItemType, NumberType, TupleType, Type, items_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Fields of PyArrayObject, as words from its start.
_DATA, _NDIM, _SHAPE, _FLAGS = (object.__basicsize__ // 8 + field for field in (0, 1, 2, 6))
# NPY_ARRAY_C_CONTIGUOUS and NPY_ARRAY_WRITEABLE
_CONTIGUOUS, _WRITEABLE = 0x1, 0x400


def compile_object(kernel: Callable[..., None], signature: tuple[Type, ...], name: str) -> bytes:
    """Compile a kernel for arguments of some types.

    Args:
        kernel: the Python function.
        signature: the types of its arguments.
        name: what its function is called in the object.

    Returns:
        An object file.

    Raises:
        ObjectError: the kernel cannot be compiled, or not so that it runs without numba.
    """
    inner = numba.njit(
        error_model="numpy", forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True
    )(kernel)
    items = list(items_of(signature))
    names = [f"a{number}" for number in range(len(items))]
    scope: dict[str, Any] = {"kernel": inner}
    values = iter([_value(*pair, scope) for pair in zip(names, items, strict=True)])
    arguments = ", ".join(_argument(one, values, scope) for one in signature)
    source = f"def entry({', '.join(names)}): kernel({arguments})"
    exec(source, scope)  # noqa: S102  # numba compiles functions, and each kernel's has its own form
    try:
        entry = numba.cfunc(types.void(*map(_numba_type, items)))(scope["entry"])
        function = entry.native_name.removeprefix("cfunc.")
        return make_object(entry.inspect_llvm(), function, name)
    except numba.errors.NumbaError as error:
        raise ObjectError(f"numba cannot compile {name}: {error}.") from error


def run_by_numba(
    kernel: Callable[..., None], signature: tuple[Type, ...], *, keep: bool
) -> Callable[..., int]:
    """Let numba compile a kernel, and call it, in its own way.

    Args:
        kernel: the kernel.
        signature: types of its arguments.
        keep: let numba keep the code, and load what it kept.

    Returns:
        A function that takes the items of tuples instead of the tuples, and returns 0.
    """
    try:
        compiled = numba.njit(nogil=True, error_model="numpy", cache=keep)(kernel)
    except RuntimeError:  # numba finds no folder that can be written to
        compiled = numba.njit(nogil=True, error_model="numpy")(kernel)

    def run(*items: object) -> int:
        left = iter(items)
        compiled(*[_gathered(one, left) for one in signature])
        return 0

    return run


def _gathered(one: Type, left: Iterator[object]) -> object:
    if not isinstance(one, TupleType):
        return next(left)
    items: list[Any] = [next(left) for _ in one.items]
    return tuple(items) if one.maker is tuple else one.maker(*items)


def _value(name: str, item: ItemType, scope: dict[str, Any]) -> str:
    """How the entry turns an argument into what the kernel takes."""
    if isinstance(item, NumberType):
        return name
    scope[f"read_{name}"] = _reader(item)
    return f"read_{name}({name})"


def _argument(one: Type, values: Iterator[str], scope: dict[str, Any]) -> str:
    if not isinstance(one, TupleType):
        return next(values)
    inside = "".join(f"{next(values)}, " for _ in one.items)
    if one.maker is tuple:
        return f"({inside})"
    scope[one.maker.__name__] = one.maker
    return f"{one.maker.__name__}({inside})"


def _numba_type(item: ItemType) -> Any:
    if isinstance(item, ArrayType):
        return types.CPointer(types.voidptr)
    return types.float64 if item.is_float else types.int64


@cache
def _reader(item: ArrayType) -> Any:
    """A function for compiled code: the array at an address, as numba knows arrays.

    The code fails if the array has another number of dimensions, is not contiguous, or is read-only
    where it should not be.
    """
    array = types.Array(
        numba.from_dtype(item.dtype), item.ndim, "C", readonly=item.is_readonly, aligned=False
    )

    @intrinsic  # type: ignore[untyped-decorator]
    def read(typing_context: Any, address: Any) -> Any:
        return array(address), _read

    return read


def _read(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    kind = signature.return_type
    word, short = context.get_value_type(types.intp), context.get_value_type(types.int32)

    def field(index: int, pointer: Any) -> Any:
        address = cgutils.gep_inbounds(builder, arguments[0], index)
        return builder.load(builder.bitcast(address, pointer.as_pointer()))

    flags = short(_CONTIGUOUS | (_WRITEABLE if kind.mutable else 0))
    lacking = builder.and_(builder.not_(field(_FLAGS, short)), flags)
    is_fit = builder.and_(
        builder.icmp_signed("==", field(_NDIM, short), short(kind.ndim)),
        builder.icmp_signed("==", lacking, short(0)),
    )
    with cgutils.if_unlikely(builder, builder.not_(is_fit)):
        context.call_conv.return_user_exc(builder, TypeError, ())

    lengths = field(_SHAPE, word.as_pointer())
    shape = [
        builder.load(cgutils.gep_inbounds(builder, lengths, index)) for index in range(kind.ndim)
    ]
    itemsize = word(context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    strides = [itemsize]
    for length in reversed(shape[1:]):
        strides.insert(0, builder.mul(strides[0], length))
    made = context.make_array(kind)(context, builder)
    populate_array(
        made,
        data=field(_DATA, made.data.type),
        shape=cgutils.pack_array(builder, shape),
        strides=cgutils.pack_array(builder, strides),
        itemsize=itemsize,
        meminfo=None,
    )
    return made._getvalue()  # noqa: SLF001  # numba's own way
