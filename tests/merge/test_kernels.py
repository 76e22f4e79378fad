"""Every kernel of pvc is kept as machine code that runs without numba."""

from __future__ import annotations

import subprocess
import sys

WORK = """
import importlib
import pkgutil
import sys
import numpy as np
import pvc.merge
from pvc.codec import BaseBlock, decode, encode, kernels, measure, numbers, rounding
from pvc.merge import arithmetic, geometry, threshold, ties, ties_votes
from pvc.merge.method import Facts, TauBlock
from pvc.merge.methods import METHODS
from pvc_store.ids import block_key
from pvc_store.kinds import KIND_BY_NAME

if {without_numba}:
    sys.modules["numba"] = None

called = set()

def noted(kernel):
    def note(*arguments):
        called.add(kernel)
        kernel(*arguments)
    return note

names = [one.name for one in pkgutil.iter_modules(pvc.merge.__path__)]
assert not set(METHODS) - set(names)
modules = kernels, rounding, *(importlib.import_module("pvc.merge." + name) for name in names)
every = [
    (module, name)
    for module in modules
    for name, one in vars(module).items()
    if hasattr(one, "__wrapped__") and one.__wrapped__.__module__ == module.__name__
]
assert len(every) > 20
for module, name in every:
    setattr(module, name, noted(getattr(module, name)))

bf16, f16, f32 = (KIND_BY_NAME[name] for name in ("BF16", "F16", "F32"))
base = np.arange(6000, dtype=np.uint16).view(np.uint8)
raw = base.copy()
raw[::16] ^= 1
out = np.empty_like(raw)
decode(encode(raw, bf16, BaseBlock(base, block_key(base), bf16)), base, out)
assert (out == raw).all()
measure(raw, bf16, base, bf16)
measure(raw, f16, base, bf16)
measure(base[::-1].copy(), f16, base, f16)
measure(raw, KIND_BY_NAME["I16"], base, KIND_BY_NAME["I16"])

wide, touched = np.empty(6000, np.float32), np.zeros(6000, np.uint8)
for kind in (f16, bf16):
    numbers.to_numbers(raw, kind, wide)
    numbers.from_numbers(wide, kind, out)
numbers.keep_untouched(raw, bf16, touched, out)
assert not numbers.has_nonfinite(raw, bf16)

tau = np.linspace(-1, 1, 6000, dtype=np.float32)
taus = np.stack([tau, tau[::-1]])
arithmetic.difference(raw.view(np.int16), base.view(np.int16), wide)
arithmetic.add(wide, 0.5, tau, touched)
arithmetic.combine(taus, np.ones(2), 0.5, wide)
geometry.compare(tau, wide, 6000)
terms = ties.Terms(np.ones(2), np.full(2, 0.1))
ties_votes.tally(taus, terms)
for method in METHODS.values():
    facts = Facts((0.1, 0.1))
    block = TauBlock(taus.copy(), np.ones(2), "w", 0, lambda row: bytes([row]) * 32, facts)
    method.kernel(block, method.rule(), wide)
search = threshold.Search(6000, 3000, np.dtype(np.float32))
while search.threshold is None:
    counts = search.counts()
    counts.count(tau)
    search.learn([counts])

left = [f"{{module.__name__}}.{{name}}" for module, name in every]
for kernel in called:
    left.remove(f"{{kernel.__module__}}.{{kernel.__name__}}")
assert not left, left
"""


def test_every_kernel_runs_without_numba() -> None:
    for without_numba in (False, True):
        work = WORK.format(without_numba=without_numba)
        subprocess.run([sys.executable, "-c", work], check=True, timeout=200)
