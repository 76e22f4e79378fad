"""Machine code of kernels, kept in files beside their source.

    <folder of the source>/__pycache__/<kernel>-<digest>.o = SHA-256 of the rest 32 | object file

numba compiles a kernel once for the types of its arguments.  Later processes load what it made with
llvmlite alone, which is ready in a tenth of the time that numba needs.  The digest in the name
covers all that the machine code depends on.

Limits: those of `entry`.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import struct
import threading
import uuid
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import llvmlite  # type: ignore[import-untyped]
from llvmlite import binding as llvm

from pvc.codec.entry import DATA, entry, form, frame, is_possible, numba_type

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_DIGEST_BYTES = 32
_LOCK = threading.Lock()


class _Machine:
    """The compiler's back end, and the code that was loaded in this process."""

    def __init__(self) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        self.processor = llvm.get_host_cpu_name()
        self.features = llvm.get_host_cpu_features().flatten()
        self.target = llvm.Target.from_default_triple().create_target_machine(
            cpu=self.processor, features=self.features, opt=3, jit=True
        )
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), self.target)

    def load(self, code: bytes, name: str) -> int:
        """Address of a function in an object file."""
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        self._engine.finalize_object()
        return int(self._engine.get_function_address(name))


@cache
def _machine() -> _Machine:
    return _Machine()


def kernel(function: Callable[..., Any], arguments: Sequence[Any]) -> Callable[..., Any] | None:
    """What calls the machine code of a kernel, for arguments like these.

    Returns:
        None if there is none and it cannot be kept.
    """
    with _LOCK:
        name = _name(function, arguments)
        file = Path(function.__code__.co_filename).parent / "__pycache__" / f"{name}.o"
        code = _kept(file)
        if code is None:
            code = _compile(function, arguments, name)
            if code is None or not _keep(file, code):
                return None
        call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_char_p)(_machine().load(code, name))
    pack = struct.Struct(f"={len(frame(arguments))}q").pack
    return lambda *given: call(pack(*frame(given)))


def _name(function: Callable[..., Any], arguments: Sequence[Any]) -> str:
    source = Path(function.__code__.co_filename).read_bytes()
    machine = _machine()
    known = (
        source, function.__name__, form(arguments), llvmlite.__version__,
        machine.processor, machine.features, DATA,
    )  # fmt: skip
    digest = hashlib.sha256(repr(known).encode()).hexdigest()
    return f"{function.__name__}-{digest[:32]}"


def _kept(file: Path) -> bytes | None:
    with contextlib.suppress(OSError):
        data = file.read_bytes()
        code = data[_DIGEST_BYTES:]
        if hashlib.sha256(code).digest() == data[:_DIGEST_BYTES]:
            return code
    return None


def _keep(file: Path, code: bytes) -> bool:
    """Put code where the next process finds it; whether that was possible."""
    temporary = file.with_name(f".{uuid.uuid4().hex}.o")
    try:
        file.parent.mkdir(exist_ok=True)
        temporary.write_bytes(hashlib.sha256(code).digest() + code)
        temporary.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        return False
    return True


def _compile(function: Callable[..., Any], arguments: Sequence[Any], name: str) -> bytes | None:
    """The object file of a kernel and its entry, or None if there can be no entry."""
    import numba

    compiler = numba.njit(nogil=True, error_model="numpy")(function)
    types = tuple(map(numba_type, arguments))
    compiler.compile(types)
    module = llvm.parse_assembly(compiler.inspect_llvm(types))
    inner = module.get_function(compiler.overloads[types].fndesc.llvm_func_name)
    if not is_possible(arguments, inner):
        return None
    for defined in (*module.functions, *module.global_variables):
        if not defined.is_declaration and defined.name != inner.name:
            defined.linkage = "internal"
    module.link_in(llvm.parse_assembly(entry(name, inner, arguments)))
    inner.linkage = "internal"
    passes = llvm.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    machine = _machine()
    options = llvm.create_pipeline_tuning_options()
    passes.run(module, llvm.create_pass_builder(machine.target, options))
    return bytes(machine.target.emit_object(module))
