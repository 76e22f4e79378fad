"""How large, how fast, how much memory: pvc beside git-lfs, DVC, cp and zstd.

    python -m benchmarks.store                      0.5 GB and 2 GB; about half an hour, 20 GB
    python -m benchmarks.store --copies 12          0.5 GB; about six minutes, 6 GB
    python -m benchmarks.store --copies 1 --rounds 1 --pairs dense

Every command is a process of its own, the files are in the page cache, the tools take turns, and
times are medians.  Standard output gets a JSON line for each row, standard error the tables.
`pairs` describes the data, `tools` the steps, `costs` shows where pvc's time goes.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from benchmarks import pairs
from benchmarks.floor import floor
from benchmarks.tools import OWN_STEPS, available, size, versions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.process import Run
    from benchmarks.tools import Tool

MEGABYTE = 1e6
LARGEST_STORED = {"dense": 35.0, "bf16": 7.6, "wq": 0.6}
LEAST_SPEEDUP = {"dense": 3.0, "wq": 10.0}
MOST_ANONYMOUS = 400.0


@dataclass(frozen=True, slots=True)
class Row:
    """One step of one tool.

    Attributes:
        pair: which fine-tune is the second version.
        total_mb: megabytes of the second version.
        tool: whose step.
        step: see `tools`; "floor" rows say what the step would take at the least.
        seconds: median wall time.
        cpu: median of user and system seconds.
        anonymous_mb: the most anonymous memory in any round, megabytes.
        stored_percent: what the step added to the store, in percent of the second version.
        all_seconds: wall time of each round.
    """

    pair: str
    total_mb: float
    tool: str
    step: str
    seconds: float
    cpu: float = 0.0
    anonymous_mb: float = 0.0
    stored_percent: float | None = None
    all_seconds: tuple[float, ...] = ()


Key: TypeAlias = tuple[str, str]


@dataclass
class Found:
    """What the rounds of one pair gave, by tool and step."""

    runs: defaultdict[Key, list[Run]] = field(default_factory=lambda: defaultdict(list))
    floors: defaultdict[Key, list[float]] = field(default_factory=lambda: defaultdict(list))
    stored: dict[str, int] = field(default_factory=dict)

    def rows(self, pair: str, total: int) -> Iterator[Row]:
        """A row for each tool and step, then the floors of pvc's."""
        total_mb = total / MEGABYTE
        for (tool, step), runs in self.runs.items():
            seconds = [run.seconds for run in runs]
            yield Row(
                pair,
                total_mb,
                tool,
                step,
                statistics.median(seconds),
                statistics.median(run.cpu for run in runs),
                max(run.anonymous for run in runs) / MEGABYTE,
                100 * self.stored[tool] / total if step == "keep" else None,
                tuple(seconds),
            )
        for (tool, step), seconds in self.floors.items():
            median = statistics.median(seconds)
            yield Row(pair, total_mb, f"{tool} floor", step, median, all_seconds=tuple(seconds))


class WrongError(Exception):
    """A tool gave back other bytes than it was given."""


def measure(tool: Tool, base: Path, second: Path, found: Found) -> None:
    """One round of one tool.

    Raises:
        WrongError: what it gave back is not what it was given.
    """
    tool.begin(base)
    tool.place(second)
    before = tool.stored()
    for step in tool.steps:
        _warm(base, second)
        run = tool.step(step)
        found.runs[tool.name, step].append(run)
        if step == "keep":
            found.stored[tool.name] = tool.stored() - before
        _check(second, tool.result(step), f"{tool.name} {step}")


def measure_floor(base: Path, second: Path, scratch: Path, threads: int, found: Found) -> None:
    """What the steps of pvc would take if nothing had to be computed."""
    stored = found.stored["pvc"]
    for step, sources, written in (
        ("keep", [base, second], stored),
        ("switch", [base], _differing(base, second)),
        ("back", [base], _differing(base, second)),
        ("new", [base], size(second)),
    ):
        _warm(base, second)
        found.floors["pvc", step].append(floor(sources, written, scratch, threads))


def _differing(base: Path, second: Path) -> int:
    """Bytes of the pieces of 1 MiB in which two directories differ."""
    count = 0
    for file in second.iterdir():
        with file.open("rb") as new, (base / file.name).open("rb") as old:
            while piece := new.read(1 << 20):
                count += len(piece) * (old.read(1 << 20) != piece)
    return count


def _warm(*directories: Path) -> None:
    """Read some directories into the page cache, with nothing left to be written to the disk."""
    os.sync()
    for directory in directories:
        for path in directory.iterdir():
            with path.open("rb", buffering=0) as file:
                while file.read(16 << 20):
                    pass


def _check(second: Path, result: Path | None, what: str) -> None:
    if result is None:
        return
    names = [file.name for file in second.iterdir()]
    same, _, _ = filecmp.cmpfiles(second, result, names, shallow=False)
    if len(same) != len(names):
        raise WrongError(f"{what} left other bytes in {result} than {second} holds.")


def bench(options: argparse.Namespace) -> Iterator[Row]:
    """All rows, pair by pair."""
    for copies in options.copies:
        directories = pairs.enlarged(options.data, copies)
        base = directories[pairs.BASE]
        for pair in options.pairs:
            found, second = Found(), directories[pair]
            for _ in range(options.rounds):
                with tempfile.TemporaryDirectory(dir=options.data) as scratch:
                    for tool in available(Path(scratch), options.threads, options.dvc):
                        measure(tool, base, second, found)
                        shutil.rmtree(Path(scratch) / tool.name)
                    measure_floor(base, second, Path(scratch), options.threads, found)
            yield from found.rows(pair, size(second))


def header(threads: int, rounds: int) -> dict[str, object]:
    """Machine and versions."""
    from importlib.metadata import version

    libraries = ("pvc", "numpy", "numba", "zstandard", "blake3", "xxhash")
    return {
        "machine": platform.platform(),
        "processors": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "load": os.getloadavg()[0],
        "threads": threads,
        "rounds": rounds,
        "python": platform.python_version(),
        **{library: version(library) for library in libraries},
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((x.partition(": ")[2] for x in lines if x.startswith("model name")), "unknown")


def table(rows: list[Row]) -> Iterator[str]:
    """The rows for people; speed is that of the step beside the same step of pvc."""
    yield f"{'pair':6} {'MB':>6} {'step':7} {'tool':10} {'s':>7} {'cpu s':>7} {'MB anon':>8} stored"
    pvc = {(row.pair, row.total_mb, row.step): row for row in rows if row.tool == "pvc"}
    for row in sorted(rows, key=lambda row: (row.total_mb, row.pair, OWN_STEPS.index(row.step))):
        stored = "" if row.stored_percent is None else f"{row.stored_percent:.2f} %"
        times = row.seconds / pvc[row.pair, row.total_mb, row.step].seconds
        yield (
            f"{row.pair:6} {row.total_mb:6.0f} {row.step:7} {row.tool:10} {row.seconds:7.2f} "
            f"{row.cpu:7.2f} {row.anonymous_mb:8.0f} {stored:8} {times:5.1f} x"
        )


def asked(rows: list[Row]) -> Iterator[str]:
    """The figures that pvc is to reach, beside what was found."""
    for row in rows:
        if row.tool == "pvc" and row.stored_percent is not None:
            limit = LARGEST_STORED[row.pair]
            yield _verdict(row, f"stored {row.stored_percent:.2f} %", row.stored_percent <= limit)
    by = {(row.tool, row.pair, row.total_mb, row.step): row for row in rows}
    for row in rows:
        if row.tool == "git-lfs" and row.pair in LEAST_SPEEDUP:
            times = row.seconds / by["pvc", row.pair, row.total_mb, row.step].seconds
            words = f"{row.step} {times:.1f} x as fast as git-lfs"
            yield _verdict(row, words, times >= LEAST_SPEEDUP[row.pair])
    most = max(row.anonymous_mb for row in rows if row.tool == "pvc")
    yield f"{'yes' if most <= MOST_ANONYMOUS else 'NO':3} all pairs: {most:.0f} MB anonymous memory"


def _verdict(row: Row, words: str, reached: bool) -> str:
    return f"{'yes' if reached else 'NO':3} {row.pair} {row.total_mb:.0f} MB: {words}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="pvc beside git-lfs, DVC, cp and zstd.")
    parser.add_argument("--data", type=Path, default=pairs.DATA, help="where the pairs lie")
    parser.add_argument("--copies", type=int, nargs="+", default=[12, 48], help="1 is 42 MB")
    parser.add_argument("--pairs", nargs="+", choices=pairs.REGIMES, default=[*pairs.REGIMES])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dvc", type=Path, help="the program dvc")
    options = parser.parse_args()
    options.data = options.data.absolute()
    return options


def main() -> None:
    """Measure, and print."""
    options = _options()
    machine = header(options.threads, options.rounds)
    print(json.dumps({**machine, **versions(options.dvc)}), flush=True)
    rows = []
    for row in bench(options):
        rows.append(row)
        print(json.dumps(asdict(row)), flush=True)
    for line in (*table(rows), "", *asked(rows)):
        print(line, file=sys.stderr)


if __name__ == "__main__":
    main()
