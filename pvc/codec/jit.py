"""The decorator of compiled loops.

`jit` compiles a function with numba when it is first called, not when it is imported: most commands
never code a block.  Compiled code is kept beside the source file (see `machine`), so that numba
itself, which takes half a second to get ready, is imported only where there is none yet; where the
source's folder is read-only, numba keeps the code in the user's cache folder.

Limits: a kernel calls no other kernel, because kept code is renewed only when its own source file
changes.  Kernels get no fast-math, so that sums of floats are the same on every machine.  They do
not check indices: their callers check sizes first.
"""

from __future__ import annotations

from functools import cache, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from pvc.codec.entry import form

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")


def jit(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` on its first call; it then runs without the interpreter lock."""
    compiled: dict[object, Callable[..., Any]] = {}

    @wraps(function)
    def kernel(*args: P.args, **kwargs: P.kwargs) -> R:
        found = compiled.get(form(args))
        if found is None:
            from pvc.codec import machine

            found = compiled[form(args)] = machine.kernel(function, args) or by_numba()
        return found(*args)  # type: ignore[no-any-return]

    @cache
    def by_numba() -> Callable[..., Any]:
        import numba

        compiler = numba.njit(nogil=True, error_model="numpy")
        kept = numba.njit(nogil=True, error_model="numpy", cache=True)
        try:
            return kept(function)  # type: ignore[no-any-return]
        except RuntimeError:  # no folder for compiled code is writable: compile in every process
            return compiler(function)  # type: ignore[no-any-return]

    return kernel
