"""The decorator of compiled loops.

A kernel is a Python function that gets its arguments by position, and gives no result: it writes
into arrays.  It allocates nothing, calls no other kernel, and does not check indices; its callers
check sizes first.  `pvc.jit.signature` says what arguments it may have.

It is compiled when it is first called with arguments of some types: numba makes machine code,
which is kept, and which later processes load without numba.  Kernels get no fast-math, so that
sums of floats are the same on every machine.

Limits: a kernel is a function of a module, and of the names there it uses numbers and numpy alone;
other things may change without its code being renewed.
"""

from __future__ import annotations

from functools import cache, wraps
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, ParamSpec, cast

import numpy as np

from pvc.jit.signature import Type, items_of, types_of

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")

_LOCK = Lock()


def jit(function: Callable[P, None]) -> Callable[P, None]:
    """Compile `function` when it is called; it then runs without the interpreter lock."""
    ready: dict[tuple[object, ...], Callable[..., int]] = {}
    compiled = cache(lambda signature: _compiled(function, signature))

    @wraps(function)
    def kernel(*arguments: object) -> None:
        items: list[object] = []
        marks: list[object] = []
        for one in arguments:
            if isinstance(one, np.ndarray):
                items.append(one)
                marks.append(one.dtype)
            elif isinstance(one, tuple):
                items += one
                marks += [x.dtype if isinstance(x, np.ndarray) else type(x) for x in one]
            else:
                items.append(one)
                marks.append(type(one))
        key = tuple(marks)
        run = ready.get(key)
        if run is not None and not run(*items):
            return
        with _LOCK:  # or threads that meet a kernel at the same time would each compile it
            run = ready[key] = compiled(types_of(arguments))
        if run(*items):
            raise RuntimeError(f"The kernel {function.__qualname__} failed")

    return cast("Callable[P, None]", kernel)


def _compiled(function: Callable[..., None], signature: tuple[Type, ...]) -> Callable[..., int]:
    """What runs a kernel; called with the items of tuples instead of the tuples."""
    from pvc.jit.machine import ObjectError, load
    from pvc.jit.object_cache import CachedObject, is_private_beside

    try:
        kept = CachedObject.of(function, signature)
        code = kept.read()
        if code is None:
            from pvc.jit.compiler import compile_object

            code = compile_object(function, signature, kept.name)
            kept.write(code)
        return load(code, kept.name, items_of(signature))
    except ObjectError:
        from pvc.jit.compiler import run_by_numba

        keep = is_private_beside(Path(function.__code__.co_filename))
        return run_by_numba(function, signature, keep=keep)
