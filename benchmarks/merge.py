"""Merging: how much of processors and memory, pvc beside mergekit.

    python -m benchmarks.merge --mergekit ~/mergekit/bin/mergekit-yaml      some minutes, 9 GB

Three vectors over a model drawn at random (see `models`), committed to a repository.  Measured are

    ties        pvc merge --ties, and pvc checkout to a new directory; density 0.2
    sum         pvc checkout "base + 0.5*first + ..." to a new directory

from committed vectors, decoding included; and mergekit's `ties` and `task_arithmetic` from the
checkpoints themselves.  Every command is a process of its own, the inputs are in the page cache,
the tools take turns, and times are medians.  The floor is what no program could beat: reading the
four checkpoints, and writing one with fsync.  pvc's memory is also measured with half the model.

Limits: the two tools do not compute the same bits: mergekit trims each tensor by itself, and breaks
ties between equal magnitudes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.floor import floor
from benchmarks.models import BASE, HALF, VECTORS, WHOLE, drawn
from benchmarks.pairs import DATA
from benchmarks.process import Run, run
from benchmarks.store import MEGABYTE, header
from benchmarks.tools import size

if TYPE_CHECKING:
    from collections.abc import Iterator

DENSITY = 0.2
SCALE = 0.5
SUM = " + ".join((BASE, *(f"{SCALE:g}*{name}" for name in VECTORS)))
METHODS = ("ties", "sum")
LEAST_RATIO = {"ties": 8.0, "sum": 2.0}
MOST_ANONYMOUS = 350.0
# Allowed between the whole model and half of it: what is kept of each block's place and key.
MOST_GROWTH = 1.1


@dataclass(frozen=True, slots=True)
class Row:
    """One method by one tool.

    Attributes:
        million: parameters of the model, in millions.
        method: one of `METHODS`, or "" for the floor.
        tool: whose.
        seconds: median wall time.
        cpu: median of user and system seconds.
        anonymous_mb: the most anonymous memory in any round, megabytes.
        all_cpu: user and system seconds of each round.
    """

    million: int
    method: str
    tool: str
    seconds: float
    cpu: float
    anonymous_mb: float
    all_cpu: tuple[float, ...]


class Pvc:
    """pvc, with the vectors committed.

    Args:
        folder: where its repositories are created.
        models: the directories of the base and the vectors.
        threads: for every command.
    """

    name = "pvc"

    def __init__(self, folder: Path, models: dict[str, Path], threads: int) -> None:
        self._threads = ["--threads", str(threads)]
        self._committed, self._root = folder / "committed", folder / "pvc"
        self._environment = {
            **os.environ,
            "PYTHONDONTWRITEBYTECODE": "",  # an installed pvc is not translated at every start
            "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
        }
        self._committed.mkdir()
        self._run(self._committed, "init", "--base", models[BASE])
        for name in VECTORS:
            self._run(self._committed, "commit", name, "--from", models[name], "--aside")

    def _run(self, root: Path, *arguments: str | Path) -> Run:
        command = [sys.executable, "-m", "pvc", *arguments, *self._threads, "--json"]
        return run(command, root, self._environment)

    def begin(self) -> None:
        """Go back to where nothing has been merged yet."""
        shutil.rmtree(self._root, ignore_errors=True)
        shutil.copytree(self._committed, self._root)

    def merge(self, method: str) -> Run:
        """Merge the vectors, and write the result to a new directory."""
        if method == "sum":
            return self._checkout(SUM)
        ties = ["--ties", "--density", str(DENSITY), "-o", "merged"]
        return self._run(self._root, "merge", *VECTORS, *ties) + self._checkout("merged")

    def _checkout(self, revision: str) -> Run:
        return self._run(self._root, "checkout", revision, "--to", "result", "--keep-head")


class Mergekit:
    """mergekit.

    Args:
        folder: where it writes.
        models: the directories of the base and the vectors.
        threads: for torch.
        program: mergekit-yaml.
    """

    name = "mergekit"

    def __init__(self, folder: Path, models: dict[str, Path], threads: int, program: Path) -> None:
        self._folder, self._models, self._program = folder, models, program
        self._environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "HF_HUB_OFFLINE": "1",
        }

    def begin(self) -> None:
        """Remove the last result."""
        shutil.rmtree(self._folder / "merged", ignore_errors=True)

    def merge(self, method: str) -> Run:
        """Merge the vectors, and write the result to a new directory."""
        parameters = {"weight": 1.0, "density": DENSITY} if method == "ties" else {"weight": SCALE}
        recipe = {
            "merge_method": "ties" if method == "ties" else "task_arithmetic",
            "base_model": str(self._models[BASE]),
            "models": [{"model": str(self._models[name])} for name in VECTORS],
            "parameters": parameters,
            "dtype": "bfloat16",
        }
        file = self._folder / "recipe.yml"
        file.write_text(json.dumps(recipe))  # which is YAML
        options = ["--no-write-model-card", "--no-copy-tokenizer"]
        command: list[str | Path] = [self._program, file, self._folder / "merged", *options]
        return run(command, self._folder, self._environment)


@dataclass
class Found:
    """What the rounds gave, by model, method and tool."""

    runs: defaultdict[tuple[int, str, str], list[Run]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def add(self, of: tuple[int, str, str], taken: Run) -> None:
        """Keep one run, and tell who waits."""
        self.runs[of].append(taken)
        print(*of, f"{taken.cpu:.2f} cpu s", file=sys.stderr, flush=True)

    def rows(self) -> Iterator[Row]:
        """A row for each of them."""
        for (million, method, tool), runs in self.runs.items():
            yield Row(
                million,
                method,
                tool,
                statistics.median(run.seconds for run in runs),
                statistics.median(run.cpu for run in runs),
                max(run.anonymous for run in runs) / MEGABYTE,
                tuple(run.cpu for run in runs),
            )


def measure(tools: list[Pvc | Mergekit], million: int, found: Found) -> None:
    """One round of all tools and methods."""
    for method in METHODS:
        for tool in tools:
            tool.begin()
            os.sync()
            found.add((million, method, tool.name), tool.merge(method))


def measured_floor(models: dict[str, Path], scratch: Path, threads: int) -> Run:
    """Reading all models, and writing one."""
    os.sync()
    before = os.times()
    seconds = floor(list(models.values()), size(models[BASE]), scratch, threads)
    after = os.times()
    return Run(seconds, after.user + after.system - before.user - before.system)


def bench(options: argparse.Namespace) -> list[Row]:
    """All rows."""
    found = Found()
    for shape in (WHOLE, HALF):
        models, million = drawn(options.data, shape), shape.parameters() // 10**6
        with tempfile.TemporaryDirectory(dir=options.data) as scratch:
            folder = Path(scratch)
            tools: list[Pvc | Mergekit] = [Pvc(folder, models, options.threads)]
            if shape == WHOLE and options.mergekit is not None:
                tools.append(Mergekit(folder, models, options.threads, options.mergekit))
            for _ in range(options.rounds if shape == WHOLE else 1):
                lowest = measured_floor(models, folder, options.threads)
                found.add((million, "", "floor"), lowest)
                measure(tools, million, found)
    return list(found.rows())


def table(rows: list[Row]) -> Iterator[str]:
    """The rows for people; processor time also as so many times the floor's."""
    floors = {row.million: row for row in rows if row.tool == "floor"}
    yield f"{'M':>4} {'':5} {'tool':9} {'s':>7} {'cpu s':>7} {'MB anon':>8}   cpu / floor"
    for row in rows:
        times = row.cpu / floors[row.million].cpu
        yield (
            f"{row.million:4} {row.method:5} {row.tool:9} {row.seconds:7.2f} {row.cpu:7.2f} "
            f"{row.anonymous_mb:8.0f} {times:9.1f} x"
        )


def asked(rows: list[Row]) -> Iterator[str]:
    """The figures that pvc is to reach, beside what was found."""
    whole, half = (shape.parameters() // 10**6 for shape in (WHOLE, HALF))
    by = {(row.million, row.method, row.tool): row for row in rows}
    for method in METHODS:
        pvc, other = by[whole, method, "pvc"], by.get((whole, method, "mergekit"))
        if other is not None:
            ratio = other.cpu / pvc.cpu
            words = f"{method}: {ratio:.1f} x less processor time than mergekit"
            yield _verdict(words, ratio >= LEAST_RATIO[method])
        words = f"{method}: {pvc.anonymous_mb:.0f} MB anonymous memory"
        yield _verdict(words, pvc.anonymous_mb <= MOST_ANONYMOUS)
        growth = pvc.anonymous_mb / by[half, method, "pvc"].anonymous_mb
        yield _verdict(f"{method}: {growth:.2f} x that of half the model", growth <= MOST_GROWTH)


def _verdict(words: str, reached: bool) -> str:
    return f"{'yes' if reached else 'NO':3} {words}"


def _version(program: Path | None) -> str:
    if program is None:
        return "--mergekit was not given"
    code = "from importlib.metadata import version; print(version('mergekit'))"
    return run([program.parent / "python", "-c", code], Path.cwd()).output.strip()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="pvc's merging beside mergekit's.")
    parser.add_argument("--data", type=Path, default=DATA, help="where the models lie")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--mergekit", type=Path, help="the program mergekit-yaml")
    options = parser.parse_args()
    options.data = options.data.absolute()
    if options.mergekit is None or not options.mergekit.exists():
        print("--mergekit names no program: mergekit is not measured.", file=sys.stderr)
        options.mergekit = None
    return options


def main() -> None:
    """Measure, and print."""
    options = _options()
    machine = header(options.threads, options.rounds)
    print(json.dumps({**machine, "mergekit": _version(options.mergekit)}), flush=True)
    rows = bench(options)
    for row in rows:
        print(json.dumps(asdict(row)))
    for line in (*table(rows), "", *asked(rows)):
        print(line, file=sys.stderr)


if __name__ == "__main__":
    main()
