"""`pvc forget`: the record of a directory or engine is removed, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.history.recovery import recover

if TYPE_CHECKING:
    from pathlib import Path

    from pvc.repo.repository import Repository


class NoTargetError(PvcError):
    """A directory or an engine is no target.

    Attributes:
        where: the directory or engine.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        super().__init__(f"Nothing was checked out to {where} from this repository.")


def forget(repository: Repository, path: Path) -> None:
    """Forget the target at a directory, whether that is still there or not.

    A record that is malformed is forgotten, too.

    Raises:
        NoTargetError: pvc has written nothing there.
    """
    with repository.lock():
        recover(repository)
        if not repository.targets.knows(path):
            raise NoTargetError(str(path))
        repository.targets.forget(path)


def forget_engine(repository: Repository, name: str) -> None:
    """Forget an engine, whether it still runs or not.

    Raises:
        NoTargetError: pvc has written nothing to it.
    """
    with repository.lock():
        recover(repository)
        if not repository.engines.knows(name):
            raise NoTargetError(f"the engine {name}")
        repository.engines.forget(name)
