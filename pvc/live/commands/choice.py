"""The engine that is meant where none is named: the one that the repository knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.live.announced.registry import NoEngineError, SeveralEnginesError
from pvc.live.client.connection import connect
from pvc.live.commands.engine_content import fits, is_foreign
from pvc.live.commands.status import ask_all
from pvc.wording import shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pvc.live.announced.registry import AnnouncedEngine
    from pvc.live.client.connection import Connection
    from pvc.repo.repository import Repository


class EndedEnginesError(PvcError):
    """No engine was named, and none of those that the repository has written to runs.

    Attributes:
        ended: their names.
        running: names of those that run.
    """

    def __init__(self, ended: tuple[str, ...], running: tuple[str, ...]) -> None:
        self.ended = ended
        self.running = running
        super().__init__(
            f"No engine of this repository runs ({shown(ended)}); running: {', '.join(running)}."
        )


def connect_known(
    repository: Repository, name: str | None, folder: Path | None = None
) -> Connection:
    """Connect to an engine.

    Args:
        repository: whose engine it is.
        name: its name; None stands for the only one that the repository has written to, or, if it
            has written to none, for the only one that runs, or that runs the base's model.
        folder: where engines are announced; None is the user's own.

    Raises:
        NoEngineError, SeveralEnginesError, EndedEnginesError: there is no one such engine.
        PvcError: see `connect`.
    """
    return connect(name or _choice(repository, ask_all(folder)), folder)


def await_turn(repository: Repository, connection: Connection) -> None:
    """Wait for others at an engine, as long as the repository's lock is waited for.

    Before that lock is taken: who holds the engine may want it, too.

    Raises:
        RefusedError: another client still holds the engine, or is changing it.
    """
    connection.await_turn(repository.patience.seconds, repository.patience.told)


def _choice(repository: Repository, announced: Sequence[AnnouncedEngine]) -> str:
    running = {one.name: one for one in announced if one.manifest is not None}
    if not running:
        if announced:
            return announced[0].name  # to connect says why it cannot be used
        raise NoEngineError(None, ())
    records = repository.engines.all()
    if not records:
        return _only(list(running) if len(running) == 1 else _fitting(repository, running))
    own = [record for record in records if _is_own(repository, running.get(record.engine))]
    if not own:
        raise EndedEnginesError(tuple(record.engine for record in records), tuple(running))
    return _only(
        [
            record.engine
            for record in own
            if (found := running[record.engine].manifest) and fits(repository, found, record.tree)
        ]
        or [record.engine for record in own]
    )


def _fitting(repository: Repository, running: Mapping[str, AnnouncedEngine]) -> list[str]:
    """Those engines that run the base's model; all if none does."""
    base = repository.head().config.base_tree
    manifests = {name: one.manifest for name, one in running.items()}
    return [name for name, one in manifests.items() if one and fits(repository, one, base)] or [
        *running
    ]


def _only(names: Sequence[str]) -> str:
    if len(names) > 1:
        raise SeveralEnginesError(tuple(names))
    return names[0]


def _is_own(repository: Repository, found: AnnouncedEngine | None) -> bool:
    """Whether an engine runs, and was not taken over by another repository."""
    if found is None or found.manifest is None:
        return False
    return found.state is None or not is_foreign(repository, found.manifest, found.state)
