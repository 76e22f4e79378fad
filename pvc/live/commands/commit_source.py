"""The weights of an engine as the source of a commit."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pvc.live.client.engine_tensors import EngineTensors
from pvc.live.client.reading import check_model
from pvc.live.commands.engine_content import content_of, identity, is_foreign, new_record
from pvc.live.memory import sealed
from pvc.live.protocol.engine_state import ContentLabel
from pvc.live.protocol.update import WeightUpdate
from pvc.repo.trees.capture import capture_tensors
from pvc.repo.trees.statistics import Capture
from pvc_store.tree import Tree

if TYPE_CHECKING:
    from pvc.live.client.connection import Connection
    from pvc.live.commands.engine_content import EngineContent
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


def origin_of(repository: Repository, tree: bytes, revision: str) -> ContentLabel:
    """The label that an engine gets with a tree."""
    return ContentLabel(tree, identity(repository), revision[:MAX_REVISION])


class EngineSource:
    """An engine's weights, to be captured.

    Args:
        repository: the repository that they are committed to.
        connection: to the engine.
        like: tree and layout that it has the tensors of; its files are laid out so.

    Raises:
        OtherModelError: the engine runs another model.
    """

    left_out = ()

    def __init__(self, repository: Repository, connection: Connection, like: Built) -> None:
        tree = repository.store.tree(like.tree)
        check_model(connection.manifest, tree)
        self.engine = connection.name
        self._repository = repository
        self._connection = connection
        self._layout = repository.store.layout(like.layout)
        self._source = EngineTensors(connection, tree)

    @property
    def where(self) -> str:
        """See `pvc.repo.commands.commit_source.CommitSource.where`."""
        return f"the engine {self.engine}"

    @property
    def state(self) -> EngineState:
        """The engine's, before anything was read."""
        return self._source.state

    @property
    def held(self) -> EngineContent | None:
        """See `CommitSource.held`."""
        return content_of(self._repository, self._connection.manifest, self.state)

    def capture(
        self, blocks: Blocks, writing: StoreWriter, goal: CaptureOptions, crew: Crew
    ) -> Capture:
        """See `CommitSource.capture`.

        Raises:
            UnsteadyError: the weights changed while they were read.
            OtherFormError: one of them cannot be read, and is not stored either.
        """
        self._source.kept = blocks.read
        tensors = capture_tensors(self._source, blocks, writing, goal, crew)
        self._source.check_unchanged()
        return Capture(Tree(one.tensor for one in tensors), self._layout, tensors)

    def adopted(
        self, vector: CapturedVector, name: str, terms: tuple[Term, ...] | None
    ) -> tuple[EngineRecord, ...]:
        """See `CommitSource.adopted`; an engine that is another repository's stays so."""
        if is_foreign(self._repository, self.state):
            return ()
        built = vector.to_tree, vector.layout
        return (new_record(self._connection.manifest, self.state, built, name, terms),)

    def tell(self, target: EngineRecord) -> EngineState:
        """Give the engine the label of its weights, which its state has from then on.

        Raises:
            RefusedError: its weights changed since they were read.
            UnreachableError: it has ended.
        """
        origin = origin_of(self._repository, target.tree, target.revision)
        state = self.state
        change = WeightUpdate(origin, state.generation, state.stamp, take=False, tensors=())
        stage = sealed.create("the stage", 0)
        try:
            sealed.seal(stage, sealed.STAGE_SEALS)
            self._connection.prepare(change, stage)
            return self._connection.commit()
        finally:
            os.close(stage)
