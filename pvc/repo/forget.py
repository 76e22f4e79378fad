"""Forgetting a target: the record of a directory goes, the directory stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.recovery import recover

if TYPE_CHECKING:
    from pathlib import Path

    from pvc.repo.repository import Repository


class NoTargetError(PvcError):
    """A directory is no target.

    Attributes:
        path: the directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"{path} is no target of this repository.")


def forget(repository: Repository, path: Path) -> None:
    """Forget the target at a directory, whether that is still there or not.

    A record that is malformed is forgotten, too.

    Raises:
        NoTargetError: pvc has written nothing there.
    """
    with repository.lock():
        recover(repository)
        if not repository.targets.knows(path):
            raise NoTargetError(path)
        repository.targets.forget(path)
