"""`pvc commit -m`: edits made by hand are committed, and merges left to people concluded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.commands.editing import Edited, checked, recorded
from pvc.repo.git import UnfinishedError
from pvc.repo.history.journal import Journal
from pvc.repo.history.recording import NothingChangedError, at, check_ready, note_quietly
from pvc.repo.history.recovery import Journalled, recover

if TYPE_CHECKING:
    from pvc.repo.repository import Repository
    from pvc.repo.snapshot import Snapshot

MARKERS = (b"<<<<<<< ", b">>>>>>> ")


class UnresolvedError(PvcError):
    """Files are still in conflict.

    Attributes:
        paths: the files.
    """

    def __init__(self, paths: tuple[str, ...]) -> None:
        self.paths = paths
        super().__init__(f"The merge is not resolved in {', '.join(paths)}.")


def commit_edits(repository: Repository, message: str) -> Edited:
    """Commit edits made by hand; concludes a merge that is under way.

    Raises:
        NothingChangedError: no file was edited.
        UnresolvedError: a file of the merge is still in conflict.
        UnfinishedError: git is in the middle of something else.
        MalformedError: a file does not follow its format.
        NoVectorError: a term names no vector.
        IdentityError: the personality cannot be computed.
        MissingError: the store lacks what the personality leads to.
    """
    with repository.lock():
        recover(repository)
        git = repository.git
        operation = git.unfinished()
        if operation not in {None, "merge"}:
            raise UnfinishedError(str(operation))
        check_ready(repository)
        head = repository.head()
        after = head.with_files({path: git.read_edited(path) for path in repository.edited()})
        if operation == "merge":
            return _conclude(repository, head, after, message)
        if not after.changes:
            raise NothingChangedError("no file of the personality was edited")
        built = checked(repository, head, after)
        return recorded(repository, after, message, built)


def _conclude(repository: Repository, head: Snapshot, after: Snapshot, message: str) -> Edited:
    git, changes = repository.git, after.changes
    marked = {path for path, data in changes.items() if data and _has_markers(data)}
    unresolved = marked | (set(git.unmerged()) - set(changes))
    if unresolved:
        raise UnresolvedError(tuple(sorted(unresolved)))
    built = checked(repository, head, after)
    git.stage(sorted(changes))
    with Journalled(repository, Journal(repository.home, repository.root, at(head), None)):
        commit = git.conclude_merge(message)
        note_quietly(repository, commit, built)
    return Edited(commit, message, after.personality, tuple(sorted(changes)))


def _has_markers(data: bytes) -> bool:
    return any(line.startswith(MARKERS) for line in data.splitlines())
