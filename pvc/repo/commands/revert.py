"""`pvc revert`: what one commit did to terms and vectors is taken back, by a new commit.

A three-way merge: from the commit as it is, to the one before it, applied to HEAD.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.commands.editing import Edited, checked, ready, recorded
from pvc.repo.commands.three_way import ConflictError, keyed, merge
from pvc.repo.history.revision import resolve
from pvc.repo.personality import config, personality_file
from pvc.repo.personality.personality_file import Personality
from pvc.repo.snapshot import PATHS, Snapshot, vector_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pvc.repo.commands.editing import Changes
    from pvc.repo.repository import Repository


class NotRevertibleError(PvcError):
    """A commit cannot be reverted.

    Attributes:
        revision: the commit, as the user said it.
        reason: why not.
    """

    def __init__(self, revision: str, reason: str) -> None:
        self.revision = revision
        self.reason = reason
        super().__init__(f"{revision} cannot be reverted: {reason}.")


def revert(repository: Repository, text: str) -> Edited:
    """Take back what one commit did to terms and vectors, by a new commit.

    Raises:
        NotRevertibleError: it is no commit, has several parents, or none.
        ConflictError: later commits changed the same again.
        IdentityError: the personality that is left cannot be computed.
    """
    with repository.lock():
        head = ready(repository)
        before, after = _ends(repository, text)
        subject = next(repository.git.log(["-n", "1", after.commit]))[0].subject
        message = f'Revert "{subject}"'
        reverted = head.with_files(_inverse_files(head, before, after, message))
        old, ours, theirs = (keyed(one.personality.terms) for one in (after, head, before))
        terms = merge(old, ours, theirs)
        if terms.conflicts:
            raise ConflictError(message, tuple(f"the term {name}" for name in terms.conflicts))
        reverted = reverted.with_personality(Personality(tuple(terms.values.values())))
        if not reverted.changes:
            raise NotRevertibleError(text, "nothing of what it did is left")
        built = checked(repository, head, reverted)
        return recorded(repository, reverted, message, built)


def _ends(repository: Repository, text: str) -> tuple[Snapshot, Snapshot]:
    """The commit before the one that is to be reverted, and that one."""
    revision = resolve(repository, text)
    if not revision.is_commit:
        raise NotRevertibleError(text, "it is not a commit")
    after = revision.state
    parents = repository.git.parents(after.commit)
    if len(parents) != 1:
        raise NotRevertibleError(text, f"it has {len(parents)} parents, not one")
    before = Snapshot(repository.git, parents[0])
    if before.read(config.PATH) is None:
        raise NotRevertibleError(text, "it is where the repository begins")
    return before, after


def _inverse_files(head: Snapshot, before: Snapshot, after: Snapshot, message: str) -> Changes:
    """Changes that bring vectors and behaviours from HEAD to where they were before a commit."""
    paths = [
        path
        for path in head.git.changed(before.commit, after.commit, PATHS)
        if path not in {config.PATH, personality_file.PATH}
    ]
    now = _data(head, paths)
    merged = merge(_data(after, paths), now, _data(before, paths))
    if merged.conflicts:
        names = ((vector_name(path), path) for path in merged.conflicts)
        raise ConflictError(
            message, tuple(f"the vector {name}" if name else path for name, path in names)
        )
    return {
        path: merged.values.get(path)
        for path in sorted({*now, *merged.values})
        if now.get(path) != merged.values.get(path)
    }


def _data(snapshot: Snapshot, paths: Sequence[str]) -> dict[str, bytes]:
    """Bytes of the files that are there, by path."""
    return {path: data for path in paths if (data := snapshot.read(path)) is not None}
