"""Recording: a change of pvc's text files becomes a git commit, with a note of its tree."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.git import GitError
from pvc.repo.history.journal import Journal
from pvc.repo.history.notes import write_note
from pvc.repo.history.recovery import Journalled, position
from pvc.repo.snapshot import PATHS, Snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pvc.repo.personality.formula import Built
    from pvc.repo.repository import Repository
    from pvc.repo.targets.directory_record import DirectoryRecord
    from pvc.repo.targets.engine_record import EngineRecord


class NothingChangedError(PvcError):
    """There is nothing to commit.

    Attributes:
        reason: why not.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"Nothing changed: {reason}.")


class DetachedError(PvcError):
    """HEAD is not on a branch, so that a commit would be lost from sight.

    Attributes:
        commit: where HEAD stands, abbreviated.
    """

    def __init__(self, commit: str) -> None:
        self.commit = commit
        super().__init__(f"HEAD is at {commit} and on no branch.")


class HeadMovedError(PvcError):
    """Somebody moved HEAD while a command was at work on what it was before.

    Attributes:
        before: branch and commit that the command began at.
        now: where HEAD stands.
    """

    def __init__(self, before: tuple[str, str], now: tuple[str, str]) -> None:
        self.before = before
        self.now = now
        super().__init__(
            f"HEAD moved from {before[0]} at {before[1][:10]} to {now[0]} at {now[1][:10]} "
            "while this command was at work; nothing was committed."
        )


def check_ready(repository: Repository) -> tuple[str, str]:
    """Make sure that a commit can be made, before long work is done for it.

    Returns:
        Where HEAD stands; `record` makes sure that it still does.

    Raises:
        DetachedError: HEAD is on no branch.
        GitError: git does not know who commits.
        LockedError: another git command is at work.
    """
    git = repository.git
    git.check_unlocked()
    branch, commit = git.branch(), git.head() or ""
    if branch is None:
        raise DetachedError(commit[:10])
    git.run("var", "GIT_COMMITTER_IDENT")
    return branch, commit


def at(head: Snapshot) -> tuple[str, str]:
    """Where HEAD stands if it stands at this snapshot, in the form of `position`."""
    return head.git.branch() or head.commit, head.commit


@dataclass(frozen=True, slots=True)
class PendingCommit:
    """A commit to be made.

    Attributes:
        before: where HEAD stood when the change was worked out.
        files: new bytes by path; None removes a file.
        message: the commit message.
        built: tree and layout of the new commit, if they are recorded.
        records: target records to save with the commit.
    """

    before: tuple[str, str]
    files: Mapping[str, bytes | None]
    message: str
    built: Built | None
    records: tuple[DirectoryRecord | EngineRecord, ...] = ()


def record(repository: Repository, change: PendingCommit) -> Snapshot:
    """Commit changes of pvc's files, and note tree and layout on the commit.

    The caller holds the repository's lock.

    Returns:
        The new HEAD.

    Raises:
        HeadMovedError: somebody moved HEAD since the change was worked out.
    """
    git, before = repository.git, change.before
    if position(git) != before:
        raise HeadMovedError(before, position(git))
    with Journalled(
        repository, Journal(repository.home, repository.root, before, None, records=change.records)
    ):
        commit = git.commit(change.files, change.message, repository.folder)
        git.follow_head(PATHS, [before[1]])
        for target in change.records:
            repository.save_record(target)
        note_quietly(repository, commit, change.built)
    return Snapshot(git, commit)


def note_quietly(repository: Repository, commit: str, built: Built | None) -> None:
    """Note tree and layout on a commit, if they are recorded; the commit stands without it."""
    if built is not None:
        with contextlib.suppress(GitError):
            write_note(repository, commit, built)
