"""Commit from an engine: its weights become a captured vector, bit for bit.

The engine goes on meanwhile.  Its state says which tree was there before; after the commit it gets
the label of the new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.live.client.model_check import OtherModelError, check_model
from pvc.live.client.reading import UnsteadyError
from pvc.live.commands.commit_source import OpenEngine
from pvc.live.commands.engine_content import TornEngineError, identity, is_foreign
from pvc.live.protocol.engine_state import OtherRepositoryError, Phase
from pvc.repo.build.builds import Builds
from pvc.repo.personality.formula import Built

if TYPE_CHECKING:
    from pvc.live.client.connection import Connection
    from pvc.parallel import Crew
    from pvc.repo.repository import Repository
    from pvc.repo.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class EngineSource:
    """An engine whose weights are to be committed.

    Attributes:
        connection: to the engine.
    """

    connection: Connection

    def open(
        self, repository: Repository, head: Snapshot, crew: Crew, *, aside: bool
    ) -> OpenEngine:
        """Open it; see `pvc.repo.commands.commit_source.CommitSource.open`.

        Raises:
            TornEngineError: its weights are of no tree.
            OtherRepositoryError: another repository wrote them, and they are not to be kept aside.
            OtherModelError: it runs another model.
            UnsteadyError: its weights are being written.
        """
        connection = self.connection
        opened = OpenEngine(repository, connection, _like(repository, head, connection, crew))
        if opened.state.phase is Phase.WRITING:
            raise UnsteadyError(connection.name)
        if opened.state.torn is not None:
            raise TornEngineError(connection.name, opened.state.torn)
        origin = opened.state.origin
        foreign = is_foreign(repository, connection.manifest, opened.state)
        if origin is not None and foreign and not aside:
            raise OtherRepositoryError(origin.repository, identity(repository))
        return opened


def _like(repository: Repository, head: Snapshot, connection: Connection, crew: Crew) -> Built:
    """HEAD's tree and layout; the base's if the engine's tensors are rather of that form."""
    builds = Builds(repository, head.config, crew, allow_nonfinite=True)
    built = builds.find(head.formula) or builds.build(head.formula)
    try:
        check_model(connection.manifest, repository.store.tree(built.tree))
    except OtherModelError:
        return Built(head.config.base_tree, head.config.base_layout)
    return built
