"""Restore: an engine that was restarted gets the weights back that it had when it was recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.live.commands.choice import await_turn
from pvc.live.commands.engine_update import EngineGoal, EngineUpdate
from pvc.repo.build.builds import Builds
from pvc.repo.build.labels import as_of_now
from pvc.repo.history.recovery import recover
from pvc.repo.personality.formula import Built

if TYPE_CHECKING:
    from pvc.live.client.connection import Connection
    from pvc.parallel import Crew
    from pvc.repo.commands.checkout import Rescue
    from pvc.repo.repository import Repository


class UnrecordedEngineError(PvcError):
    """A repository has no record of an engine.

    Attributes:
        engine: its name.
    """

    def __init__(self, engine: str) -> None:
        self.engine = engine
        super().__init__(
            f"It is not known what the engine {engine} had: this repository has never written to "
            "it, or it was forgotten."
        )


@dataclass(frozen=True, slots=True)
class Restored:
    """An engine that has its weights again.

    Attributes:
        engine: its name.
        revision: what they are: a branch, tag, commit, vector or expression, when it was recorded.
        tree: tree id.
        nbytes: bytes that were written; none if it had these weights.
        rescue: what it held, if that was kept.
    """

    engine: str
    revision: str
    tree: bytes
    nbytes: int
    rescue: Rescue | None


def restore(
    repository: Repository, connection: Connection, crew: Crew, *, force: bool = False
) -> Restored:
    """Bring an engine to the tree of its record, bit for bit; HEAD stays.

    Args:
        repository: where.
        connection: to the engine.
        crew: threads and progress.
        force: keep what would be lost, and then overwrite it.

    Raises:
        UnrecordedEngineError: there is no record of it.
        UnkeptTreeError: the weights are not stored, and cannot be computed again.
        PvcError: see `EngineUpdate.run`.
    """
    await_turn(repository, connection)
    with repository.lock():
        recover(repository)
        record = repository.engines.find(connection.name)
        if record is None:
            raise UnrecordedEngineError(connection.name)
        config = repository.head().config
        builds = Builds(repository, config, crew)
        builds.restore(record.tree)
        built = Built(record.tree, record.layout)
        goal = EngineGoal(built, record.revision, record.terms, lambda: None)
        with repository.blocks(config) as blocks:
            work = EngineUpdate(repository, config, builds, blocks, crew, connection, goal, force)
            done, rescue = work.run()
        revision = as_of_now(repository, record.revision, record.tree)
        return Restored(connection.name, revision, record.tree, done.nbytes, rescue)
