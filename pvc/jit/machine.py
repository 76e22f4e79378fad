"""Machine code: made from LLVM's language, and called in this process.

An object file holds one function.  It gets its arguments after two addresses that numba's code
expects, returns 0 unless it failed, and calls nothing but the three functions of the C library
that LLVM moves and clears memory with: a name that cannot be resolved would end the process.

Importing this imports llvmlite, an eighth of what numba takes.

Limits: object files in ELF of 64 bits, little-endian; other platforms get no object.
"""

from __future__ import annotations

import ctypes
import struct
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import llvmlite
import llvmlite.binding as llvm

from pvc.errors import PvcError
from pvc.jit.signature import ArrayType, ItemType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

HARMLESS = frozenset({"memcpy", "memmove", "memset"})

_SYMBOL = struct.Struct("<IBBHQQ")

# Where numba's code would write its result, always a null pointer here, and what it raised.
_OUTCOME = (ctypes.c_void_p * 2)()


class ObjectError(PvcError):
    """No machine code can be made that runs by itself."""


class _Machine:
    def __init__(self) -> None:
        try:
            self._begin()
        except RuntimeError as error:
            raise ObjectError(f"LLVM cannot make code for this machine: {error}.") from error

    def _begin(self) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        self.triple: str = llvm.get_process_triple()
        self.cpu: str = llvm.get_host_cpu_name()
        self.features: str = llvm.get_host_cpu_features().flatten()
        target = llvm.Target.from_triple(self.triple)
        self.target = target.create_target_machine(
            cpu=self.cpu, features=self.features, opt=3, codemodel="jitdefault", jit=True
        )
        self.engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), self.target)


_machine = cache(_Machine)


def describe() -> str:
    """What machine code depends on, besides what it is made from."""
    this = _machine()
    return f"llvmlite {llvmlite.__version__}, {this.triple}, {this.cpu}, {this.features}"


def make_object(source: str, function: str, name: str) -> bytes:
    """Compile one function.

    Args:
        source: a module in LLVM's language, optimised; nothing else of it goes into the object.
        function: which of its functions.
        name: what it is called in the object.

    Raises:
        ObjectError: the function is missing, or needs what is neither in the object nor harmless.
    """
    try:
        module = llvm.parse_assembly(source)
        defined = [one for one in module.functions if not one.is_declaration]
        for one in defined:
            if one.name == function:
                one.name = name
            else:
                one.linkage = "available_externally"
        code: bytes = _machine().target.emit_object(module)
        needed = set(_undefined(code))
    except (RuntimeError, struct.error) as error:
        raise ObjectError(f"LLVM cannot compile {name}: {error}.") from error
    if name not in {one.name for one in defined} or not needed <= HARMLESS:
        raise ObjectError(f"{name} does not run by itself: it needs {sorted(needed)}.")
    return code


def load(code: bytes, name: str, items: Iterable[ItemType]) -> Callable[..., int]:
    """Make the function of an object callable; other threads run while it does.

    Args:
        code: what `make_object` made, on such a machine as this.
        name: the name that the function was given; no other object may have the same.
        items: the types of its arguments; arrays are given themselves.
    """
    engine = _machine().engine
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    outcome = (
        ctypes.addressof(_OUTCOME),
        ctypes.addressof(_OUTCOME) + ctypes.sizeof(ctypes.c_void_p),
    )
    prototype = ctypes.CFUNCTYPE(
        ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *map(_c_type, items)
    )
    return partial(prototype(engine.get_function_address(name)), *outcome)


def _c_type(item: ItemType) -> Any:
    if isinstance(item, ArrayType):
        return ctypes.py_object
    return ctypes.c_double if item.is_float else ctypes.c_int64


def _undefined(code: bytes) -> Iterator[str]:
    """The names that an object refers to and does not define."""
    sections = {one.name(): one.data() for one in llvm.ObjectFileRef.from_data(code).sections()}
    if not {b".symtab", b".strtab"} <= sections.keys():
        raise ObjectError("Objects of this platform are not in ELF.")
    names = sections[b".strtab"]
    for start, _, _, section, _, _ in _SYMBOL.iter_unpack(sections[b".symtab"]):
        if start and not section:
            yield names[start : names.index(b"\0", start)].decode()
