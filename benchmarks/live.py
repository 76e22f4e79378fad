"""How long an engine stands still for an update, and how fast it is verified.

    python -m benchmarks.live                       508 million parameters; about two minutes, 1 GB
    python -m benchmarks.live --device cuda         the same on a GPU

The engine is a Qwen3 in bfloat16 in a process of its own.  It is updated to and fro between two
trees; in every block that changes, one byte of each 4096 does.

    dense     every block changes
    wq        the query projections do

Steps stand still in the commit phase only: the copy, and the hash of what was written.  Beside it
stands what copying as many bytes takes with as many threads, and beside `verify` what reading the
same memory takes.  Rounds take turns, times are medians.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from blake3 import blake3

from benchmarks import models
from benchmarks.pairs import DATA
from benchmarks.store import header
from pvc import live, parallel
from pvc.live.memory.host import gather
from pvc.parallel import Crew
from pvc_store.block import BLOCK_BYTES
from pvc_store.ids import block_key
from pvc_store.tree import Tensor, Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection as Pipe

    from numpy.typing import NDArray

    from pvc.live.protocol.manifest import LiveTensor
    from pvc.parallel import Stop

    Bytes = NDArray[np.uint8]

SHAPE = models.Shape(num_hidden_layers=28)
NAME = "bench"
CHANGES = {"dense": "", "wq": "q_proj"}
EVERY = 4096
MOST_COPIES, MOST_MORE = 2.0, 0.1
LEAST_SHARE = 0.7
READY_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was measured.

    Attributes:
        what: the thing.
        gigabytes: how much it went over, in units of 1e9 bytes.
        seconds: median.
        all_seconds: each round.
    """

    what: str
    gigabytes: float
    seconds: float
    all_seconds: tuple[float, ...]


class Target:
    """The engine's weights as they were, and changed."""

    def __init__(self, connection: live.Connection, crew: Crew) -> None:
        self.connection = connection
        self.crew = crew
        self.base, _ = live.content(connection, crew)
        self._source = live.EngineTensors(connection)

    def changed(self, part: str) -> Tree:
        """The tree in which tensors with `part` in their names are changed."""
        found = dict(self.base)

        def change(tensor: Tensor, stop: Stop) -> None:
            hasher, keys = blake3(), bytearray()
            out = np.empty(BLOCK_BYTES, np.uint8)
            for index in range(tensor.block_count):
                stop.check()
                block = out[: tensor.block_length(index)]
                self.flipped(tensor, index, block)
                hasher.update(block.data)
                keys += block_key(block.data)
            name = tensor.name
            found[name] = Tensor(name, tensor.kind, tensor.shape, hasher.digest(), bytes(keys))

        wanted = [tensor for tensor in self.base.values() if part in tensor.name]
        parallel.run(wanted, change, self.crew.threads)
        return Tree(found.values())

    def flipped(self, tensor: Tensor, index: int, out: Bytes) -> None:
        """A block as it is not now: changed if it is not, else as it was."""
        live_tensor = self.connection.manifest.tensors[tensor.name]
        self._source.read_into(live_tensor, index * BLOCK_BYTES, out)
        out[::EVERY] ^= 1

    def update(self, before: Tree, after: Tree) -> live.Updated:
        """Bring the engine from one to the other."""
        goal = live.UpdateGoal(after, "/bench", "bench")
        return live.update(self.connection, before, goal, self.flipped, self.crew)

    def read(self) -> None:
        """Read all there is, and nothing more."""
        tensors, memories = self.connection.manifest.tensors, self.connection.memories
        jobs = [
            (tensors[name], first)
            for name, tensor in self.base.items()
            for first in range(0, tensor.block_count, 16)
        ]

        def add(job: tuple[LiveTensor, int], stop: Stop) -> None:
            tensor, first = job
            scratch = np.empty(BLOCK_BYTES, np.uint8)
            for index in range(first, min(first + 16, tensor.block_count)):
                stop.check()
                block = gather(tensor, index, memories, scratch)
                np.add.reduce(block[: len(block) // 8 * 8].view(np.uint64))

        parallel.run(jobs, add, self.crew.threads)


class Copied:
    """As many bytes as an update changes, twice, to be copied by themselves."""

    def __init__(self, nbytes: int, threads: int, device: str) -> None:
        self._device = device
        if device != "cpu":
            import torch

            self._tensors = [torch.ones(nbytes, dtype=torch.uint8, device=device) for _ in range(2)]
            return
        parts = (np.ones(nbytes, np.uint8) for _ in range(2))
        self._parts = [np.array_split(one, threads * 8) for one in parts]
        self._threads = threads

    def copy(self) -> None:
        """Copy them."""
        if self._device != "cpu":
            import torch

            self._tensors[0].copy_(self._tensors[1])
            torch.cuda.synchronize()
            return

        def copy(pair: tuple[Bytes, Bytes], _: Stop) -> None:
            np.copyto(*pair)

        parallel.run(list(zip(*self._parts, strict=True)), copy, self._threads)


def engine(model: Path, device: str, folder: Path, pipe: Pipe) -> None:
    """The engine's process: ends when the pipe does."""
    import torch
    from transformers import AutoModelForCausalLM

    import pvc

    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16).to(device)
    with pvc.share(loaded, NAME, folder=folder):
        pipe.send("ready")
        pipe.poll(None)


def measured(target: Target, rounds: int, device: str) -> Iterator[Row]:
    """All rows."""
    total = target.base.nbytes
    times: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
    changes = {name: target.changed(part) for name, part in CHANGES.items()}
    for _ in range(rounds):
        times["read", total].append(_seconds(target.read))
        times["verify", total].append(
            _seconds(lambda: live.verify(target.connection, target.base, target.crew))
        )
        for name, tree in changes.items():
            began = time.perf_counter()
            done = target.update(target.base, tree)
            times[f"{name}: update", done.nbytes].append(time.perf_counter() - began)
            copied = Copied(done.nbytes, target.crew.threads, device)
            times[f"{name}: copy", done.nbytes].append(_seconds(copied.copy))
            times[f"{name}: commit", done.nbytes].append(done.state.paused / 1e6)
            target.update(tree, target.base)
    for (what, nbytes), found in times.items():
        yield Row(what, nbytes / 1e9, statistics.median(found), tuple(found))


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def table(rows: list[Row]) -> Iterator[str]:
    """The rows for people."""
    yield f"{'':15} {'GB':>6} {'s':>8} {'GB/s':>6}"
    for row in rows:
        speed = row.gigabytes / row.seconds
        yield f"{row.what:15} {row.gigabytes:6.3f} {row.seconds:8.4f} {speed:6.1f}"


def asked(rows: list[Row]) -> Iterator[str]:
    """The figures that are to be reached, beside what was found."""
    seconds = {row.what: row.seconds for row in rows}
    for name in CHANGES:
        commit, copy = seconds[f"{name}: commit"], seconds[f"{name}: copy"]
        reached = commit <= MOST_COPIES * copy + MOST_MORE
        words = f"steps stand still for {1000 * commit:.0f} ms, a copy takes {1000 * copy:.0f} ms"
        yield f"{'yes' if reached else 'NO':3} {name}: {words}"
    share = seconds["read"] / seconds["verify"]
    yield f"{'yes' if share >= LEAST_SHARE else 'NO':3} verify: {100 * share:.0f} % of reading"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Updates and checks of an engine.")
    parser.add_argument("--data", type=Path, default=DATA, help="where the model lies")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=parallel.default_threads())
    parser.add_argument("--layers", type=int, default=SHAPE.num_hidden_layers)
    return parser.parse_args()


def main() -> None:
    """Measure, and print."""
    options = _options()
    print(json.dumps(header(options.threads, options.rounds)), flush=True)
    shape = models.Shape(num_hidden_layers=options.layers)
    model = models.drawn(options.data.absolute(), shape, vectors=0)[models.BASE]
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as scratch:
        ours, theirs = context.Pipe()
        folder = Path(scratch) / "engines"
        process = context.Process(target=engine, args=(model, options.device, folder, theirs))
        process.start()
        theirs.close()
        if not ours.poll(READY_SECONDS):
            raise TimeoutError("The engine does not start.")
        ours.recv()
        with live.connect(NAME, folder) as connection:
            target = Target(connection, Crew(options.threads))
            rows = list(measured(target, options.rounds, options.device))
        ours.close()
        process.join()
    for row in rows:
        print(json.dumps(asdict(row)), flush=True)
    for line in (*table(rows), "", *asked(rows)):
        print(line, file=sys.stderr)


if __name__ == "__main__":
    main()
