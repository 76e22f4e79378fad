from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from blake3 import blake3

from pvc import live
from pvc.parallel import Crew
from pvc_store.block import BLOCK_BYTES
from pvc_store.ids import block_key
from pvc_store.tree import Tensor, Tree, block_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]

SECONDS = 60


@dataclass
class EngineProcess:
    """A process with an engine in it; see engine_process.py."""

    process: subprocess.Popen[str]
    name: str
    folder: Path
    seconds: float = SECONDS

    def ask(self, what: str, **arguments: object) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"ask": what, **arguments}) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], self.seconds)
        assert ready, "the engine does not answer"
        line = self.process.stdout.readline()
        assert line, f"the engine ended with {self.process.wait()}"
        return json.loads(line)

    def connect(self) -> live.Connection:
        return live.connect(self.name, self.folder)

    def kill(self, how: int = signal.SIGKILL) -> None:
        self.process.send_signal(how)
        self.process.wait(SECONDS)


@dataclass
class Weights:
    """Tensors in this process's memory, from which an engine can be updated."""

    tree: Tree
    raw: dict[str, Bytes]
    reads: list[str] = field(default_factory=list)

    def read(self, tensor: Tensor, index: int, out: Bytes) -> None:
        start = index * BLOCK_BYTES
        out[:] = self.raw[tensor.name][start : start + len(out)]
        self.reads.append(tensor.name)

    def changed(self, *names: str, step: int = 5000) -> Weights:
        """The same, with some tensors (or all) changed a little, once in every `step` bytes."""
        raw = {name: data.copy() for name, data in self.raw.items()}
        for name in names or raw:
            raw[name][1::step] ^= 1
        return weights(self.tree, raw)

    def save(self, path: Path) -> None:
        np.savez(path, **{name: data for name, data in self.raw.items() if len(data)})  # type: ignore[arg-type]


def weights(like: Tree, raw: dict[str, Bytes]) -> Weights:
    return Weights(Tree(_tensor(like[name], data) for name, data in raw.items()), raw)


def _tensor(like: Tensor, data: Bytes) -> Tensor:
    parts = (data[i * BLOCK_BYTES : (i + 1) * BLOCK_BYTES] for i in range(block_count(len(data))))
    keys = b"".join(block_key(part.data) for part in parts)
    return Tensor(like.name, like.kind, like.shape, blake3(data.data).digest(), keys)


def held(connection: live.Connection) -> Weights:
    """What an engine holds now."""
    tree, _ = live.content(connection, CREW)
    source = live.EngineTensors(connection)
    raw = {name: np.empty(tensor.nbytes, np.uint8) for name, tensor in tree.items()}
    for name, out in raw.items():
        for start in range(0, len(out), BLOCK_BYTES):
            source.read_into(source.tensors[name], start, out[start : start + BLOCK_BYTES])
    source.check_unchanged()
    return Weights(tree, raw)


def update(connection: live.Connection, before: Weights, after: Weights, **more: Any) -> Any:
    return _updated(connection, before.tree, after, more)


def overwrite(connection: live.Connection, after: Weights, **more: Any) -> Any:
    """Update an engine from whatever it holds."""
    found, _ = live.content(connection, CREW)
    return _updated(connection, found, after, more)


def _updated(
    connection: live.Connection, before: Tree, after: Weights, more: dict[str, Any]
) -> Any:
    goal = live.UpdateGoal(after.tree, **{"repository": "/here", "revision": "main", **more})
    return live.update(connection, before, goal, after.read, CREW)


def left(folder: Path) -> list[str]:
    """What is in a folder of engines."""
    return sorted(path.name for path in folder.iterdir())


CREW = Crew(threads=2)


class Starter:
    """Starts engines in a folder, and ends them all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: list[EngineProcess] = []

    def __call__(
        self, kind: str = "tiny", name: str = "chat", limit: int | None = None
    ) -> EngineProcess:
        program = [sys.executable, "-m", "tests.support.engine_process", kind, name]
        limits = [] if limit is None else [str(limit)]
        process = subprocess.Popen(
            [*program, str(self.folder), *limits],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        self.running.append(EngineProcess(process, name, self.folder))
        return self.running[-1]

    def end(self) -> None:
        for engine in self.running:
            engine.process.kill()
            engine.process.wait()
            for pipe in (engine.process.stdin, engine.process.stdout):
                assert pipe is not None
                pipe.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    """Starts engines."""
    starter = Starter(tmp_path / "engines")
    yield starter
    starter.end()


@pytest.fixture
def engine(start: Starter) -> EngineProcess:
    """A running engine with the tiny model, for one test."""
    found = start()
    assert "pid" in found.answer()
    return found


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    """The same, for tests that leave it as it was."""
    starter = Starter(tmp_path_factory.mktemp("lasting") / "engines")
    found = starter()
    assert "pid" in found.answer()
    yield found
    starter.end()
