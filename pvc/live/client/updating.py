"""Updating an engine: from the tree that it has to another one, in one step.

The blocks that differ are decoded and staged while the engine goes on; the engine checks them, and
writes them between two of its steps.  If anything is wrong before that, nothing has changed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pvc import parallel
from pvc.errors import PvcError
from pvc.live.client.model_check import check_model
from pvc.live.client.reading import verify
from pvc.live.memory import sealed
from pvc.live.protocol.engine_state import ContentLabel
from pvc.live.protocol.update import TensorUpdate, WeightUpdate, lengths, offsets, stage_bytes
from pvc.wording import agreeing, shown
from pvc_store import atomic
from pvc_store.block import BLOCK_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from pvc.live.client.connection import Connection
    from pvc.live.protocol.engine_state import EngineState
    from pvc.live.protocol.manifest import Manifest
    from pvc.parallel import Crew, Stop
    from pvc_store.tree import Tensor, Tree

    Bytes = NDArray[np.uint8]
    ReadBlock = Callable[[Tensor, int, Bytes], None]


class DriftedEngineError(PvcError):
    """An engine does not have the tree that it is to be updated from.

    Attributes:
        engine: its name.
        names: the tensors that differ.
    """

    def __init__(self, engine: str, names: tuple[str, ...]) -> None:
        self.engine = engine
        self.names = names
        super().__init__(
            f"The engine {engine} does not have the expected weights: {shown(names)} "
            f"{agreeing(len(names), 'differs', 'differ')}."
        )


@dataclass(frozen=True, slots=True)
class Updated:
    """What an update did.

    Attributes:
        tensors: how many changed.
        blocks: how many blocks were written.
        nbytes: bytes of them.
        state: of the engine afterwards.
    """

    tensors: int
    blocks: int
    nbytes: int
    state: EngineState


@dataclass(frozen=True, slots=True)
class UpdateGoal:
    """The weights that an engine is to get.

    Attributes:
        tree: its weights.
        repository: identity of the repository that writes them.
        revision: what is checked out: a branch, tag, commit, vector or expression.
        take: take over an engine that another repository has written to.
    """

    tree: Tree
    repository: str
    revision: str
    take: bool = False


def update(
    connection: Connection, before: Tree, goal: UpdateGoal, read_block: ReadBlock, crew: Crew
) -> Updated:
    """Bring an engine from one tree to another.

    If it has the goal's tree already, no block is written, but the engine's state is.

    Args:
        connection: to the engine.
        before: the tree that it has, which is verified first.
        goal: the tree that it gets.
        read_block: fills memory with a block of a tensor of the goal; several threads call it.
        crew: threads and progress.

    Raises:
        OtherModelError: a tree is not of the engine's model.
        DriftedEngineError: it does not have `before`.
        RoomError: the new blocks cannot be staged.
        RefusedError: the engine refuses.
        UnreachableError: it has ended, or does not answer.
    """
    after = goal.tree
    check_model(connection.manifest, after)
    drifted, state = verify(connection, before, crew)
    if drifted:
        raise DriftedEngineError(connection.name, drifted)
    change = WeightUpdate(
        origin=ContentLabel(after.id, goal.repository, goal.revision),
        generation=state.generation,
        stamp=state.stamp,
        take=goal.take,
        tensors=tuple(_changes(connection.manifest, before, after)),
    )
    stage = _stage(change, after, read_block, crew)
    try:
        connection.prepare(change, stage)
        final = _commit(connection)
    finally:
        os.close(stage)
    sizes = list(lengths(change, _sizes(after)))
    return Updated(len(change.tensors), len(sizes), sum(sizes), final)


def _commit(connection: Connection) -> EngineState:
    try:
        return connection.commit()
    except KeyboardInterrupt as error:
        error.add_note(
            f"the engine {connection.name} was told to write already, and does so between its "
            "steps; `pvc status` says what it holds."
        )
        raise


def _changes(manifest: Manifest, before: Tree, after: Tree) -> Iterator[TensorUpdate]:
    """The tensors that differ; of those that are loaded together, all if one does."""
    origins = _origins(manifest, before)
    loaded = [name for name in after if name in manifest.tensors]
    differing = {name for name in loaded if origins[name].keys != after[name].keys}
    groups = [set(group) for group in manifest.groups if differing & set(group)]
    together = set().union(*groups)
    for name in loaded:
        tensor = after[name]
        if name in together:
            yield TensorUpdate.whole(origins[name], tensor)
        elif name in differing:
            yield TensorUpdate.between(origins[name], tensor)


def _origins(manifest: Manifest, before: Tree) -> dict[str, Tensor]:
    """Name -> tensor before; of tied names, `before` may have another one than the goal."""
    found = dict(before)
    for group in manifest.ties:
        first = next(before[name] for name in group if name in before)
        found.update(dict.fromkeys(group, first))
    return found


def _sizes(tree: Tree) -> dict[str, int]:
    return {name: tensor.nbytes for name, tensor in tree.items()}


def _stage(change: WeightUpdate, after: Tree, read_block: ReadBlock, crew: Crew) -> int:
    """A descriptor of sealed memory with the new blocks."""
    sizes = _sizes(after)
    nbytes = stage_bytes(change, sizes)
    fd = sealed.create("the stage", nbytes)
    try:
        sealed.reserve(fd, 0, nbytes, "the stage")
        places = offsets(lengths(change, sizes))
        jobs = [
            (after[tensor.name], index, *next(places))
            for tensor in change.tensors
            for index in tensor.indices
        ]

        def write(job: tuple[Tensor, int, int, int], stop: Stop) -> None:
            stop.check()
            tensor, index, at, length = job
            out = np.empty(BLOCK_BYTES, np.uint8)[:length]
            read_block(tensor, index, out)
            atomic.write_all(fd, out.data, at)
            crew.progress.advance(length)

        crew.progress.start("Staging", sum(lengths(change, sizes)))
        parallel.run(jobs, write, crew.threads)
        sealed.seal(fd, sealed.STAGE_SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd
