"""The weights of an engine as the source of a commit."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from pvc.live.client.connection import RefusedError, UnreachableError
from pvc.live.client.engine_tensors import EngineTensors
from pvc.live.client.model_check import check_model
from pvc.live.commands.engine_content import (
    content_of,
    identity,
    is_foreign,
    is_moved,
    new_record,
    record_of,
)
from pvc.live.memory import sealed
from pvc.live.protocol.engine_state import ContentLabel
from pvc.live.protocol.update import WeightUpdate
from pvc.repo.trees.capture import capture_tensors
from pvc.repo.trees.statistics import Capture
from pvc.weights.apart import completed
from pvc_store.errors import LockedError
from pvc_store.tree import Tree

if TYPE_CHECKING:
    from pvc.live.client.connection import Connection
    from pvc.live.protocol.engine_state import EngineState
    from pvc.parallel import Crew
    from pvc.repo.personality.formula import Built
    from pvc.repo.personality.personality_file import Term
    from pvc.repo.personality.vector import CapturedVector
    from pvc.repo.repository import Repository
    from pvc.repo.targets.engine_record import EngineRecord
    from pvc.repo.trees.blocks import Blocks
    from pvc.repo.trees.capture import CaptureOptions
    from pvc_store.store import StoreWriter

MAX_REVISION = 1000
"""Characters of a revision's text in the state of engines."""


def label_of(repository: Repository, tree: bytes, revision: str) -> ContentLabel:
    """The label that an engine gets with a tree."""
    return ContentLabel(tree, identity(repository), revision[:MAX_REVISION])


class OpenEngine:
    """An engine's weights, from now on; attributes as of `pvc.repo.commands.commit_source`.

    Args:
        repository: the repository that they are committed to.
        connection: to the engine.
        like: tree and layout that it has the tensors of; its files are laid out so.

    Raises:
        OtherModelError: the engine runs another model.
    """

    left_out = ()
    directory = None
    notes = ()

    def __init__(self, repository: Repository, connection: Connection, like: Built) -> None:
        tree = repository.store.tree(like.tree)
        check_model(connection.manifest, tree)
        self._repository = repository
        self._connection = connection
        self._layout = repository.store.layout(like.layout)
        self._like = tree
        self._source = EngineTensors(connection, tree)
        self.engine = connection.name
        self.where = self.provenance = f"the engine {self.engine}"
        self.state = self._source.state  # before anything is read
        self.target = content_of(repository, connection.manifest, self.state)

    def capture(
        self, blocks: Blocks, writing: StoreWriter, goal: CaptureOptions, crew: Crew
    ) -> Capture:
        """Read them into the store.

        Raises:
            UnsteadyError: the weights changed while they were read.
            OtherFormError: one of them cannot be read, and is not stored either.
        """
        self._source.kept = blocks.read
        tensors = capture_tensors(self._source, blocks, writing, goal, crew)
        self._source.check_unchanged()
        unloaded = self._connection.manifest.unloaded
        tree = completed(Tree(one.tensor for one in tensors), self._like, unloaded)
        return Capture(tree, self._layout, tensors)

    def completed(self, captured: Capture, origin: Tree) -> Capture:
        """With the tensors of the origin that no engine has, or that this one does not load."""
        manifest = self._connection.manifest
        own = Tree(one.tensor for one in captured.tensors)
        return replace(captured, tree=completed(own, origin, manifest.unloaded))

    def records(
        self, vector: CapturedVector, name: str, terms: tuple[Term, ...] | None
    ) -> tuple[EngineRecord, ...]:
        """The engine's record; none for an engine of another repository, which it stays."""
        if is_foreign(self._repository, self._connection.manifest, self.state):
            return ()
        built = vector.to_tree, vector.layout
        manifest = self._connection.manifest
        return (new_record(self._repository, manifest, self.state, built, (name, terms)),)

    def confirm(self) -> bool:
        """Tell the engine what was committed; whether it still holds just that."""
        repository = self._repository
        target = record_of(repository, self._connection.manifest)
        if target is None or is_foreign(repository, self._connection.manifest, self.state):
            return False
        try:
            state = self._tell(target)
        except (RefusedError, UnreachableError, KeyboardInterrupt):  # the commit stands
            return False
        with contextlib.suppress(LockedError), repository.lock():
            after = replace(target, generation=state.generation, stamp=state.stamp)
            repository.engines.save(after)
        return True

    def _tell(self, target: EngineRecord) -> EngineState:
        """Give the engine the label of its weights, which its state has from then on.

        Raises:
            RefusedError: its weights changed since they were read.
            UnreachableError: it has ended.
        """
        origin = label_of(self._repository, target.tree, target.revision)
        state = self.state
        moved = is_moved(self._repository, state)
        change = WeightUpdate(origin, state.generation, state.stamp, take=moved, tensors=())
        stage = sealed.create("the stage", 0)
        try:
            sealed.seal(stage, sealed.STAGE_SEALS)
            self._connection.prepare(change, stage)
            return self._connection.commit()
        finally:
            os.close(stage)
