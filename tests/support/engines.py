"""A repository of the engines' model, and what tests do with both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pvc import live
from pvc.live.commands.checkout import EngineTarget
from pvc.live.commands.commit import EngineSource
from pvc.live.commands.status import status
from pvc.repo.commands.checkout import checkout
from pvc.repo.commands.commit import Wish, commit
from pvc.repo.commands.init import initialise
from pvc.repo.commands.status import status as repository_status
from tests.live.conftest import CREW

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Protocol

    from pvc.live.commands.status import EngineStatus
    from pvc.repo.commands.checkout import CheckedOut
    from pvc.repo.commands.commit import Committed
    from pvc.repo.repository import Repository
    from tests.live.conftest import EngineProcess

    class AnyEngine(Protocol):
        folder: Path

        def connect(self) -> live.Connection: ...


@dataclass
class Engine:
    """An engine in this process."""

    name: str
    folder: Path

    def connect(self) -> live.Connection:
        return live.connect(self.name, self.folder)


def create(root: Path, base: Path) -> Path:
    root.mkdir()
    initialise(root, base, by_value=True, crew=CREW)
    return root


def go(
    repository: Repository,
    engine: AnyEngine,
    text: str,
    *,
    keep_head: bool = False,
    force: bool = False,
) -> CheckedOut:
    """Check out into an engine."""
    with engine.connect() as connection:
        target = EngineTarget(connection, force)
        return checkout(repository, text, target, keep_head=keep_head, crew=CREW)


def keep(repository: Repository, engine: AnyEngine, name: str, **how: bool | str) -> Committed:
    """Commit from an engine."""
    with engine.connect() as connection:
        return commit(repository, Wish(name, **how), EngineSource(connection), CREW)  # type: ignore[arg-type]


def look(repository: Repository, engine: AnyEngine) -> EngineStatus:
    """The status of the only engine."""
    [found] = status(repository, repository_status(repository).tree, engine.folder)
    return found


def held(engine: AnyEngine, repository: Repository) -> bytes:
    """Tree id of what an engine really holds."""
    base = repository.store.tree(repository.head().config.base_tree)
    with engine.connect() as connection:
        return live.content(connection, CREW, base)[0].id


def outputs(engine: EngineProcess, folder: Path) -> np.ndarray:
    """What an engine computes."""
    engine.ask("outputs", path=str(folder / "outputs.npy"))
    found: np.ndarray = np.load(folder / "outputs.npy")
    return found
