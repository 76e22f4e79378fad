"""Kernels: loops in Python that run as machine code, compiled once on a machine.

1. `@jit` marks a kernel: a function that writes into the arrays it is given, and allocates nothing.
2. Its first call with arguments of some types looks for an object file of this kernel, these types,
   this processor and these versions in `__pycache__`, then in `~/.cache/pvc`.
3. Where there is none, numba compiles the kernel and LLVM writes the object, which is kept.
4. The object is loaded with llvmlite alone, which takes a seventh of the time of importing numba.

Where an object cannot be made or does not run by itself, numba runs the kernel (docs/adr/0018).
Called by `pvc.codec` and `pvc.merge`.

Tests: tests/jit/.
"""
