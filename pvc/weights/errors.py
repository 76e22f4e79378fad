"""The errors that every module of `pvc.weights` shares.

Paths in errors are as the caller gave them; the facts are attributes, the message is one sentence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pvc.errors import PvcError

if TYPE_CHECKING:
    from pathlib import Path


class CheckpointError(PvcError):
    """A checkpoint is not what it should be.

    Attributes:
        path: its directory, or the file in it that is wrong.
    """

    def __init__(self, path: Path, message: str) -> None:
        self.path = path
        super().__init__(message)


class UnreadableError(CheckpointError):
    """The operating system refuses to read a file or directory of the checkpoint."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, f"{path} cannot be read: {reason}.")


class ChangedError(CheckpointError):
    """A file of the checkpoint is no longer the one that was opened."""

    def __init__(self, path: Path, detail: str) -> None:
        super().__init__(path, f"{path} changed while the checkpoint was being read: {detail}.")
