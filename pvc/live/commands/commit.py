"""Commit: an engine's weights become a captured vector, bit for bit.

The engine goes on meanwhile.  What it held before, it knows itself; after the commit it knows what
it holds now.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pvc.live.client.connection import RefusedError, UnreachableError
from pvc.live.client.reading import OtherModelError, UnsteadyError, check_model
from pvc.live.commands.commit_source import EngineSource
from pvc.live.commands.engine_content import TornEngineError, identity, is_foreign, record_of
from pvc.live.protocol.engine_state import OtherRepositoryError, Phase
from pvc.repo.build.builds import Builds
from pvc.repo.commands.commit import commit as commit_result
from pvc.repo.personality.formula import Built
from pvc_store.errors import LockedError

if TYPE_CHECKING:
    from pvc.live.client.connection import Connection
    from pvc.parallel import Crew
    from pvc.repo.commands.commit import Committed, Wish
    from pvc.repo.repository import Repository
    from pvc.repo.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class EngineCommitted:
    """What a commit from an engine did.

    Attributes:
        done: what it did in the repository.
        engine: name of the engine.
        clean: whether the engine still held just this when it was told; else it went on training,
            or belongs to another repository.
    """

    done: Committed
    engine: str
    clean: bool


def commit(
    repository: Repository, wish: Wish, connection: Connection, crew: Crew
) -> EngineCommitted:
    """Commit what an engine holds.

    Args:
        repository: where.
        wish: what; its source is not looked at.
        connection: to the engine.
        crew: who does the work.

    Raises:
        TornEngineError: its weights are of no tree.
        OtherRepositoryError: another repository wrote them, and they are not to be kept aside.
        OtherModelError: it runs another model.
        UnsteadyError: its weights changed while they were read.
        NothingChangedError, OtherTreeError, ...: as for checkpoints, in `pvc.repo.commands.commit`.
    """
    opened: list[EngineSource] = []

    def opener(repository: Repository, head: Snapshot, crew: Crew) -> EngineSource:
        result = EngineSource(repository, connection, _like(repository, head, connection, crew))
        if result.state.phase is Phase.WRITING:
            raise UnsteadyError(connection.name)
        if result.state.torn is not None:
            raise TornEngineError(connection.name, result.state.torn)
        origin = result.state.origin
        if origin is not None and is_foreign(repository, result.state) and not wish.aside:
            raise OtherRepositoryError(origin.repository, identity(repository))
        opened.append(result)
        return result

    done = commit_result(repository, wish, crew, opener)
    return EngineCommitted(done, connection.name, _tell(repository, opened[0], connection))


def _tell(repository: Repository, result: EngineSource, connection: Connection) -> bool:
    """Let the engine know what was committed; whether it still holds just that."""
    target = record_of(repository, connection.manifest)
    if target is None or is_foreign(repository, result.state):
        return False
    try:
        state = result.tell(target)
    except (RefusedError, UnreachableError, KeyboardInterrupt):  # the commit stands
        return False
    with contextlib.suppress(LockedError), repository.lock():
        after = replace(target, generation=state.generation, stamp=state.stamp)
        repository.engines.save(after)
    return True


def _like(repository: Repository, head: Snapshot, connection: Connection, crew: Crew) -> Built:
    """HEAD's tree and layout; the base's if the engine's tensors are rather of that form."""
    builds = Builds(repository, head.config, crew)
    built = builds.find(head.formula) or builds.build(head.formula)
    try:
        check_model(connection.manifest, repository.store.tree(built.tree))
    except OtherModelError:
        return Built(head.config.base_tree, head.config.base_layout)
    return built
