"""Reading an engine's weights: as a tree, or compared with one.

The engine goes on meanwhile.  Whether its weights changed while they were read is seen from its
generation and stamp before and after; then they are read again.

Limits: what torch does not count (writes to `tensor.data`, or from other libraries) is not noticed.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from blake3 import blake3

from pvc import parallel
from pvc.errors import PvcError
from pvc.live.client.model_check import OtherModelError, check_model
from pvc.live.memory.host import gather, key_of
from pvc.live.protocol.engine_state import Phase
from pvc.weights.apart import is_apart
from pvc_store.block import BLOCK_BYTES
from pvc_store.ids import block_key
from pvc_store.tree import Tensor, Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pvc.live.client.connection import Connection
    from pvc.live.protocol.engine_state import EngineState
    from pvc.live.protocol.manifest import LiveTensor
    from pvc.parallel import Crew, Stop

T = TypeVar("T")

ATTEMPTS = 5
PAUSE_SECONDS = 0.1
_SLICE = 16
"""Blocks that a thread reads at a time."""


class UnsteadyError(PvcError):
    """An engine's weights changed whenever they were read.

    Attributes:
        engine: its name.
        times: how often they were read.
    """

    def __init__(self, engine: str, times: int = 1) -> None:
        self.engine = engine
        self.times = times
        often = "" if times == 1 else f", {times} times"
        super().__init__(f"The weights of the engine {engine} changed while they were read{often}.")


def verify(connection: Connection, tree: Tree, crew: Crew) -> tuple[tuple[str, ...], EngineState]:
    """The tensors of an engine that differ from a tree, and the state in which they were read.

    Of tensors that the engine keeps in another form (`LiveTensor.direct`), its word is taken for
    what they were made of.

    Raises:
        OtherModelError: the engine runs another model.
        UnsteadyError: its weights change all the time.
    """
    check_model(connection.manifest, tree)
    return _steadily(connection, lambda: _drifted(connection, tree, crew))


def content(
    connection: Connection, crew: Crew, names: Iterable[str] | None = None
) -> tuple[Tree, EngineState]:
    """The weights of an engine as a tree, and the state in which they were read.

    Of tensors that it keeps in another form, its word is taken; see `applied_tensors`.

    Args:
        connection: to the engine.
        crew: threads and progress.
        names: which tensors; None takes all, and of tied ones the first.

    Raises:
        OtherModelError: the engine has no tensor of one of the names.
        UnsteadyError: its weights change all the time.
    """
    tied = connection.manifest.tied_to
    every = connection.manifest.tensors
    wanted = [name for name in every if name not in tied] if names is None else list(names)
    left_out = connection.manifest.unloaded
    wanted = [name for name in wanted if name in every or not is_apart(name)]
    wanted = [name for name in wanted if name not in left_out]
    missing = [name for name in wanted if name not in every]
    if missing:
        differences = tuple(f"{name} is not in the engine" for name in missing[:3])
        raise OtherModelError(connection.name, differences)
    return _steadily(connection, lambda: _tree(connection, wanted, crew))


def _steadily(connection: Connection, read: Callable[[], T]) -> tuple[T, EngineState]:
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_SECONDS)
        before = connection.state()
        if before.phase is Phase.WRITING:
            continue
        found = read()
        after = connection.state()
        if moment(before) == moment(after):
            return found, after
    raise UnsteadyError(connection.name, ATTEMPTS)


def moment(state: EngineState) -> tuple[int, int, Phase, str | None]:
    """Equal for two states between which nothing was written, unless something is right now."""
    return state.generation, state.stamp, state.phase, state.torn


def _drifted(connection: Connection, tree: Tree, crew: Crew) -> tuple[str, ...]:
    tensors = connection.manifest.tensors
    jobs = [
        (tensors[name], tensor, first)
        for name, tensor in tree.items()
        if name in tensors and tensors[name].direct
        for first in range(0, tensor.block_count, _SLICE)
    ]
    applied = connection.applied()
    drifted = {
        name for name, one in applied.items() if name in tree and one.keys != tree[name].keys
    }
    memories = connection.memories

    def compare(job: tuple[LiveTensor, Tensor, int], stop: Stop) -> None:
        live, tensor, first = job
        scratch = np.empty(BLOCK_BYTES, np.uint8)
        for index in range(first, min(first + _SLICE, tensor.block_count)):
            stop.check()
            if key_of(live, index, memories, scratch) != tensor.key(index):
                drifted.add(tensor.name)
            crew.progress.advance(tensor.block_length(index))

    crew.progress.start("Comparing", tree.nbytes)
    parallel.run(jobs, compare, crew.threads)
    return tuple(name for name in tree if name in drifted)


def _tree(connection: Connection, names: list[str], crew: Crew) -> Tree:
    wanted = [connection.manifest.tensors[name] for name in names]
    chosen = [live for live in wanted if live.direct]
    applied = connection.applied()
    found = [applied[live.name] for live in wanted if not live.direct]
    memories = connection.memories

    def identify(live: LiveTensor, stop: Stop) -> None:
        scratch = np.empty(BLOCK_BYTES, np.uint8)
        hasher, keys = blake3(), bytearray()
        for index in range(live.block_count):
            stop.check()
            raw = gather(live, index, memories, scratch)
            hasher.update(raw.data)
            keys += block_key(raw.data)
            crew.progress.advance(len(raw))
        found.append(Tensor(live.name, live.kind, live.shape, hasher.digest(), bytes(keys)))

    crew.progress.start("Reading", sum(live.nbytes for live in chosen))
    parallel.run(sorted(chosen, key=lambda live: -live.nbytes), identify, crew.threads)
    return Tree(found)
