"""The errors that every module of `pvc.weights` shares.

Paths in errors are as the caller gave them; the facts are attributes, the message is one sentence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pvc.errors import PvcError

if TYPE_CHECKING:
    from pathlib import Path


class CheckpointError(PvcError):
    """A checkpoint directory is not what it should be."""


class UnreadableError(CheckpointError):
    """A file or directory of the checkpoint cannot be read.

    Attributes:
        path: what was to be read.
        reason: what the operating system says about it.
    """

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path} cannot be read: {reason}.")


class ChangedError(CheckpointError):
    """A file of the checkpoint is no longer the one that was opened.

    Attributes:
        path: the changed file.
        detail: how the change showed.
    """

    def __init__(self, path: Path, detail: str) -> None:
        self.path = path
        self.detail = detail
        super().__init__(f"{path} changed while the checkpoint was being read: {detail}.")
