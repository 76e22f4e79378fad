"""A working tree that git works in, too: its moves, its locks, its unfinished operations."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.git import locks
from pvc.repo.git.attributes import Attributes, add_lines, missing_lines
from pvc.repo.git.process import GitError
from pvc_store.errors import LockedError

if TYPE_CHECKING:
    from pathlib import Path

OPERATIONS = {
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "BISECT_LOG": "bisect",
}

BLOCKS = ("Entry ", "Untracked ", "Updating ", "Refusing ", "Submodule ", "you need ")
"""How git begins to say that a file, and not the disk or itself, is in the way."""


class BlockedMoveError(GitError):
    """HEAD cannot move: files that git tracks were edited, and would be overwritten."""


class UnfinishedError(PvcError):
    """git is in the middle of a merge, rebase, or the like.

    Attributes:
        operation: which one.
    """

    def __init__(self, operation: str) -> None:
        self.operation = operation
        super().__init__(f"A git {operation} is not finished.")


class Git(Attributes):
    """One working tree of a git repository: all that pvc needs of git."""

    def unfinished(self) -> str | None:
        """The operation that git is in the middle of, or None."""
        found = (word for name, word in OPERATIONS.items() if (self.directory / name).exists())
        return next(found, None)

    def check_unlocked(self) -> None:
        """Make sure that no other git command is at work on the index; gives it a moment to end.

        Raises:
            LockedError: one is, or one was killed and left its lock.
        """
        lock, deadline = self.directory / "index.lock", time.monotonic() + locks.LOCK_SECONDS
        while lock.exists():
            if time.monotonic() > deadline:
                raise LockedError(str(lock), "another git command")
            time.sleep(locks.LOCK_SECONDS / 40)

    def check_move(self, commit: str, scratch: Path) -> None:
        """Make sure that HEAD can move to a commit without harm to edited files.

        Looks at a copy of the index: whoever is killed meanwhile leaves no lock on the user's.

        Args:
            commit: where to.
            scratch: directory for the copy.

        Raises:
            BlockedMoveError: it cannot.
            GitError: git could not find out.
        """
        with self.copied_index(scratch) as environment:
            try:
                self.run("update-index", "-q", "--refresh", env=environment)
            except GitError as error:
                if error.status != 1:  # which says that files are edited; that may do no harm
                    raise
            try:
                self.run("read-tree", "-m", "-u", "--dry-run", "HEAD", commit, env=environment)
            except GitError as error:
                if not error.detail.startswith(BLOCKS):
                    raise
                raise BlockedMoveError(error.command, error.detail) from None

    def move(self, revision: str, *, detach: bool) -> None:
        """`git checkout`: HEAD, index and files move to a branch or a commit.

        Raises:
            GitError: it refused.  A hook that fails after the move is no refusal.
        """
        commit = self.find(revision)
        try:
            self.run("checkout", "--quiet", *(["--detach"] if detach else []), revision, "--")
        except GitError:
            arrived = self.head() == commit and (self.branch() is None) == detach
            if not arrived:
                raise

    def remove_locks(self, since: int) -> None:
        """Remove the lock files of a git command that was killed; see `remove_stale`.

        Args:
            since: when that command can have begun at the earliest, in nanoseconds since 1970.
        """
        found = [*self.directory.glob("*.lock"), *(self.common / "refs").rglob("*.lock")]
        for lock in [*found, self.common / "objects" / "maintenance.lock"]:
            locks.remove_stale(lock, since)

    def exclude(self, directory: Path) -> None:
        """Let git ignore a directory below the root, in this clone only."""
        file = self.common / "info" / "exclude"
        path = os.fsencode(directory.relative_to(self.root).as_posix())
        escaped = re.sub(rb"([\\*?\[ ])", rb"\\\1", path)
        pattern = b"/%s/" % escaped.replace(b"\n", b"?")  # a pattern cannot hold a line's end
        if missing_lines(file, [pattern]):
            add_lines(file, [pattern])
