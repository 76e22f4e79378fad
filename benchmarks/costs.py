"""Where pvc's time goes: the functions that do the work are wrapped and charged their own time.

    python -m benchmarks.costs --copies 12 --pairs dense wq --threads 2

A line for each step and cost: how often, wall seconds summed over all threads, processor seconds.
Wall time without processor time is waiting: for the disk, for another thread, for the
interpreter's lock.  "python" is what is left of the threads' processor time.  Every step is taken
in this process and twice; the second time counts, so imports and compilation are left out.

Limits: a wrapper costs about two microseconds a call.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import inspect
import json
import os
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import pairs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WRAPPED = {
    "pvc.repo.capture:_TensorRun._read": "read new",
    "pvc.repo.blocks:BaseFiles.read": "read base",
    "pvc.repo.fill:key_at": "read target",
    "pvc_store.packed:PackedBlocks.get": "read pack",
    "pvc.repo.capture:same": "compare",
    "pvc.repo.difference:measure": "measure",
    "pvc.repo.capture:measure": "measure",
    "xxhash:xxh3_128_digest": "xxh3",
    "xxhash:xxh3_64_intdigest": "xxh3",
    "pvc.repo.capture:blake3": "blake3",
    "pvc_store.pack:blake3": "blake3",
    "pvc.codec.kernels:keys_of": "order kernels",
    "pvc.codec.kernels:key_starts": "order kernels",
    "pvc.codec.kernels:order": "order kernels",
    "pvc.codec.kernels:difference": "delta kernels",
    "pvc.codec.kernels:scatter": "delta kernels",
    "pvc.codec.kernels:split": "delta kernels",
    "pvc.codec.kernels:join": "delta kernels",
    "pvc.codec.kernels:gather": "delta kernels",
    "pvc.codec.kernels:restore": "delta kernels",
    "zstandard:ZstdCompressor": "zstd",
    "zstandard:ZstdDecompressor": "zstd",
    "os:pwrite": "write",
    "os:posix_fallocate": "write",
    "os:fsync": "fsync",
    "pvc.repo.git:Git.run": "git",
    "pvc.repo.git:Git.read_bytes": "git",
}


class Costs:
    """What was charged; safe for several threads."""

    def __init__(self) -> None:
        self.calls: defaultdict[str, int] = defaultdict(int)
        self.wall: defaultdict[str, float] = defaultdict(float)
        self.cpu: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()
        self._inner = threading.local()

    def charge(self, label: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, with its time charged to `label`, but for what it calls that is charged."""

        @functools.wraps(function)
        def charged(*args: Any, **kwargs: Any) -> Any:
            outer, self._inner.spent = getattr(self._inner, "spent", (0.0, 0.0)), (0.0, 0.0)
            wall, cpu = time.perf_counter(), time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
                inner_wall, inner_cpu = self._inner.spent
                self._inner.spent = outer[0] + wall, outer[1] + cpu
                with self._lock:
                    self.calls[label] += 1
                    self.wall[label] += wall - inner_wall
                    self.cpu[label] += cpu - inner_cpu

        return charged

    def lines(self, wall: float, cpu: float) -> Iterator[str]:
        """The costs, the largest first, and what is left."""
        yield f"  {'':14} {'calls':>7} {'wall s':>8} {'cpu s':>8}"
        for label in sorted(self.wall, key=lambda label: -self.wall[label]):
            calls, wall_here, cpu_here = self.calls[label], self.wall[label], self.cpu[label]
            yield f"  {label:14} {calls:7} {wall_here:8.3f} {cpu_here:8.3f}"
        yield f"  {'python':14} {'':7} {'':8} {cpu - sum(self.cpu.values()):8.3f}"
        yield f"  {'all':14} {'':7} {wall:8.3f} {cpu:8.3f}"


class _Charged:
    """An object whose methods are charged."""

    def __init__(self, costs: Costs, label: str, wrapped: Any) -> None:
        self._costs, self._label, self._wrapped = costs, label, wrapped

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._wrapped, name)
        return self._costs.charge(self._label, found) if callable(found) else found


@contextlib.contextmanager
def charging() -> Iterator[Costs]:
    """Charge what is WRAPPED while the block runs."""
    costs = Costs()
    with contextlib.ExitStack() as undo:
        for where, label in WRAPPED.items():
            module, _, path = where.partition(":")
            *owners, name = path.split(".")
            owner = functools.reduce(getattr, owners, importlib.import_module(module))
            found = inspect.getattr_static(owner, name)
            undo.callback(setattr, owner, name, found)
            setattr(owner, name, _charged(costs, label, found))
        yield costs


def _charged(costs: Costs, label: str, found: Any) -> Any:
    if not isinstance(found, type):
        return costs.charge(label, found)

    def create(*args: Any, **kwargs: Any) -> _Charged:
        return _Charged(costs, label, found(*args, **kwargs))

    create.AUTO = getattr(found, "AUTO", None)  # type: ignore[attr-defined]  # of blake3
    return create


def steps(root: Path, base: Path, second: Path, threads: int) -> dict[str, Callable[[], object]]:
    """What is measured, in this order."""
    from pvc.repo.checkout import checkout
    from pvc.repo.commit import Wish, commit
    from pvc.repo.initialise import initialise
    from pvc.repo.repository import Repository
    from pvc.repo.workers import Crew

    crew = Crew(threads)

    def within(action: Callable[[Repository], object]) -> Callable[[], object]:
        def run() -> object:
            with Repository.open(root) as repository:
                return action(repository)

        return run

    def to(revision: str, name: str) -> Callable[[], object]:
        return within(lambda r: checkout(r, revision, root / name, keep_head=True, crew=crew))

    return {
        "init": lambda: initialise(root, base, by_value=True, crew=crew),
        "new base": to("base", "work"),
        "keep": within(lambda r: commit(r, Wish("second", second, aside=True), crew)),
        "switch": to("second", "work"),
        "back": to("base", "work"),
        "new": to("second", "new"),
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="Where pvc's time goes.")
    parser.add_argument("--data", type=Path, default=pairs.DATA, help="where the pairs lie")
    parser.add_argument("--copies", type=int, default=12, help="1 is 42 MB")
    parser.add_argument("--pairs", nargs="+", choices=pairs.REGIMES, default=[*pairs.REGIMES])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    directories = pairs.enlarged(options.data.absolute(), options.copies)
    for pair in options.pairs:
        for counts in (False, True):
            with tempfile.TemporaryDirectory(dir=options.data) as scratch:
                root = Path(scratch).absolute()
                found = steps(root, directories[pairs.BASE], directories[pair], options.threads)
                for name, step in found.items():
                    os.sync()
                    with charging() as costs:
                        wall, cpu = time.perf_counter(), time.process_time()
                        step()
                        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                    if counts:
                        print(json.dumps({"pair": pair, "step": name, "threads": options.threads}))
                        print("\n".join(costs.lines(wall, cpu)), flush=True)


if __name__ == "__main__":
    main()
