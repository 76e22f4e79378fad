"""The decorator of compiled loops.

`jit` compiles a function with numba when it is first called, not when it is imported: numba takes
almost half a second to begin, and most commands never code a block.  Who will, but has to read
first, lets it begin meanwhile.  Compiled code is kept beside the source file, or in the user's
cache folder where that is read-only.

Limits: a kernel calls no other kernel, because kept code is renewed only when its own source file
changes.  Kernels get no fast-math, so that sums of floats are the same on every machine.  They do
not check indices: their callers check sizes first.
"""

from __future__ import annotations

import contextlib
from functools import cache, wraps
from threading import Lock, Thread
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")

_LOCK = Lock()


def jit(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` on its first call; it then runs without the interpreter lock."""

    @cache
    def once() -> Callable[P, R]:
        import numba

        compiler = numba.njit(nogil=True, error_model="numpy")
        kept = numba.njit(nogil=True, error_model="numpy", cache=True)
        try:
            return kept(function)  # type: ignore[no-any-return]
        except RuntimeError:  # no folder for compiled code is writable: compile in every process
            return compiler(function)  # type: ignore[no-any-return]

    @cache
    def compiled() -> Callable[P, R]:
        with _LOCK:  # or threads that meet a kernel at the same time would each load it
            return once()

    @wraps(function)
    def kernel(*args: P.args, **kwargs: P.kwargs) -> R:
        return compiled()(*args, **kwargs)

    return kernel


@jit
def _nothing(number: int) -> int:
    return number


@cache
def begin() -> None:
    """Let numba get ready on a thread of its own; kernels that are called meanwhile wait for it."""
    Thread(target=_begin, name="pvc-jit").start()


def _begin() -> None:
    with contextlib.suppress(Exception):  # the kernels that are called next will say it
        _nothing(0)
