"""Where pvc's time goes: the functions that do the work are wrapped and charged their own time.

    python -m benchmarks.costs --copies 12 --pairs dense wq --threads 2
    python -m benchmarks.costs --merge                  the steps of `merge` instead

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
from typing import TYPE_CHECKING, Any, TypeAlias

from benchmarks import pairs
from benchmarks.models import BASE, VECTORS, WHOLE, drawn
from pvc.repo.commands.checkout_directory import DirectoryTarget
from pvc.repo.commands.commit_source import CheckpointSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pvc.repo.repository import Repository

    Step: TypeAlias = Callable[[], object]
    Steps: TypeAlias = dict[str, Step]

WRAPPED = {
    "pvc.repo.trees.capture:_TensorRun._read": "read new",
    "pvc.repo.trees.blocks:BaseFiles.read": "read base",
    "pvc.repo.targets.write_and_verify:key_at": "read target",
    "pvc_store.packed:PackedBlocks.get": "read pack",
    "pvc.repo.trees.capture:same": "compare",
    "pvc.repo.trees.changes:measure": "measure",
    "pvc.repo.trees.capture:measure": "measure",
    "xxhash:xxh3_128_digest": "xxh3",
    "xxhash:xxh3_64_intdigest": "xxh3",
    "pvc.repo.trees.capture:blake3": "blake3",
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
    "pvc.codec.rounding:extend": "round and widen",
    "pvc.codec.rounding:shorten": "round and widen",
    "pvc.codec.rounding:restore_untouched": "round and widen",
    "pvc.merge.arithmetic:_difference": "differences",
    "pvc.merge.arithmetic:_add": "sums",
    "pvc.merge.ties:_measure": "ties: measure",
    "pvc.merge.ties:_vote": "ties: vote",
    "pvc.merge.ties:_count": "ties: count",
    "pvc.merge.ties:_combine": "ties: mean",
    "pvc.repo.build.compute:blake3": "blake3",
    "zstandard:ZstdCompressor": "zstd coding",
    "zstandard:ZstdDecompressor": "zstd decoding",
    "os:pwrite": "write",
    "os:posix_fallocate": "write",
    "os:fsync": "fsync",
    "pvc.repo.git:Git.ask": "git",
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
        yield f"  {'':15} {'calls':>7} {'wall s':>8} {'cpu s':>8}"
        for label in sorted(self.wall, key=lambda label: -self.wall[label]):
            calls, wall_here, cpu_here = self.calls[label], self.wall[label], self.cpu[label]
            yield f"  {label:15} {calls:7} {wall_here:8.3f} {cpu_here:8.3f}"
        yield f"  {'python':15} {'':7} {'':8} {cpu - sum(self.cpu.values()):8.3f}"
        yield f"  {'all':15} {'':7} {wall:8.3f} {cpu:8.3f}"


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


def steps(root: Path, base: Path, second: Path, threads: int) -> Steps:
    """What is measured, in this order."""
    from pvc.parallel import Crew
    from pvc.repo.commands.checkout import checkout
    from pvc.repo.commands.commit import Wish, commit
    from pvc.repo.commands.init import initialise

    crew, within = Crew(threads), functools.partial(_within, root)

    def to(revision: str, name: str) -> Step:
        return within(
            lambda r: checkout(r, revision, DirectoryTarget(root / name), keep_head=True, crew=crew)
        )

    return {
        "init": lambda: initialise(root, base, by_value=True, crew=crew),
        "new base": to("base", "work"),
        "keep": within(
            lambda r: commit(r, Wish("second", aside=True), CheckpointSource(second), crew)
        ),
        "switch": to("second", "work"),
        "back": to("base", "work"),
        "new": to("second", "new"),
    }


def merge_steps(root: Path, models: dict[str, Path], threads: int) -> Steps:
    """The steps of `merge`, in this order."""
    from benchmarks.merge import DENSITY, SUM
    from pvc.parallel import Crew
    from pvc.repo.commands.build import build
    from pvc.repo.commands.checkout import checkout
    from pvc.repo.commands.combine import Combination, combine
    from pvc.repo.commands.commit import Wish, commit
    from pvc.repo.commands.init import initialise

    crew, within = Crew(threads), functools.partial(_within, root)

    def keep(repository: Repository) -> None:
        for name in VECTORS:
            commit(repository, Wish(name, aside=True), CheckpointSource(models[name]), crew)

    def to(revision: str, name: str) -> Step:
        return within(
            lambda r: checkout(r, revision, DirectoryTarget(root / name), keep_head=True, crew=crew)
        )

    ties = Combination(VECTORS, "ties", {"density": DENSITY}, "merged")
    return {
        "init": lambda: initialise(root, models[BASE], by_value=True, crew=crew),
        "keep": within(keep),
        "merge ties": within(lambda r: combine(r, ties, crew)),
        "build ties": within(lambda r: build(r, "merged", crew)),
        "checkout ties": to("merged", "ties"),
        "build sum": within(lambda r: build(r, SUM, crew)),
        "checkout sum": to(SUM, "sum"),
    }


def _within(root: Path, action: Callable[[Repository], object]) -> Step:
    def run() -> object:
        from pvc.repo.repository import Repository

        with Repository.open(root) as repository:
            return action(repository)

    return run


def show(data: Path, subject: str, threads: int, steps_in: Callable[[Path], Steps]) -> None:
    """Take all steps twice, each time in a fresh directory, and print the costs of the second."""
    for counts in (False, True):
        with tempfile.TemporaryDirectory(dir=data) as scratch:
            for name, step in steps_in(Path(scratch).absolute()).items():
                os.sync()
                with charging() as costs:
                    wall, cpu = time.perf_counter(), time.process_time()
                    step()
                    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                if counts:
                    print(json.dumps({"of": subject, "step": name, "threads": threads}))
                    print("\n".join(costs.lines(wall, cpu)), flush=True)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="Where pvc's time goes.")
    parser.add_argument("--data", type=Path, default=pairs.DATA, help="where the pairs lie")
    parser.add_argument("--copies", type=int, default=12, help="1 is 42 MB")
    parser.add_argument("--pairs", nargs="+", choices=pairs.REGIMES, default=[*pairs.REGIMES])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--merge", action="store_true", help="the steps of merging")
    options = parser.parse_args()
    data, threads = options.data.absolute(), options.threads
    if options.merge:
        drawn_models = drawn(data, WHOLE)
        show(data, "merge", threads, lambda root: merge_steps(root, drawn_models, threads))
        return
    directories = pairs.enlarged(data, options.copies)
    for pair in options.pairs:
        base, second = directories[pairs.BASE], directories[pair]
        step_in = functools.partial(steps, base=base, second=second, threads=threads)
        show(data, pair, threads, step_in)


if __name__ == "__main__":
    main()
