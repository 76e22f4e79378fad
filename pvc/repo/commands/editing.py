"""An edit of the text files: checked as a snapshot, then recorded as a commit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.build.builds import Builds
from pvc.repo.history.recording import PendingCommit, at, check_ready, record
from pvc.repo.history.recovery import recover
from pvc.repo.personality.resolve import Names
from pvc.repo.personality.vector import DerivedVector
from pvc.repo.personality.vector_names import check_name
from pvc.repo.snapshot import vector_name
from pvc.wording import agreeing, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pvc.repo.personality.formula import Built
    from pvc.repo.personality.personality_file import Personality
    from pvc.repo.repository import Repository
    from pvc.repo.snapshot import Snapshot
    from pvc.repo.targets.directory_record import DirectoryRecord
    from pvc.repo.targets.engine_record import EngineRecord

Changes = dict[str, bytes | None]


class DependentError(PvcError):
    """Something depends on a vector.

    Attributes:
        name: the vector.
        dependents: what depends on it.
    """

    def __init__(self, name: str, dependents: tuple[str, ...]) -> None:
        self.name = name
        self.dependents = dependents
        depend = agreeing(len(dependents), "depends", "depend")
        super().__init__(f"{name} cannot be removed: {shown(dependents)} {depend} on it.")


class NameTakenError(PvcError):
    """There is a vector or a behaviour of that name already.

    Attributes:
        name: the name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"There is a vector or a behaviour {name} already.")


@dataclass(frozen=True, slots=True)
class Edited:
    """An edit that was committed.

    Attributes:
        commit: id of the new commit.
        message: its message.
        personality: the personality afterwards.
        paths: the files that changed.
    """

    commit: str
    message: str
    personality: Personality
    paths: tuple[str, ...]


def ready(repository: Repository) -> Snapshot:
    """HEAD, where a commit can be made of it; raises as `recording.check_ready`."""
    recover(repository)
    repository.check_clean()
    check_ready(repository)
    return repository.head()


def checked(
    repository: Repository,
    before: Snapshot,
    after: Snapshot,
    changes: Mapping[str, bytes | None] | None = None,
) -> Built | None:
    """Make sure that an edited personality can be computed.

    Args:
        repository: where.
        before: HEAD.
        after: the edited snapshot.
        changes: the files in which they differ; None stands for those of `after`.

    Returns:
        Its tree and layout; None if nobody computed it yet.

    Raises:
        NoVectorError, VectorError, UnresolvableError: a vector cannot be resolved.
        DependentError: a vector is gone, and a derived vector that is left needs it.
        IdentityError: it cannot be computed.
        MissingError: the store lacks a tree that it needs.
    """
    _check_vectors(before, after, after.changes if changes is None else changes)
    builds = Builds(repository, after.config)
    builds.check(after.formula)
    return builds.find_current(after.formula)


def _check_vectors(before: Snapshot, after: Snapshot, changes: Mapping[str, bytes | None]) -> None:
    """Make sure that vectors that change can be resolved, and that those which stay still can."""
    files = {name: data for path, data in changes.items() if (name := vector_name(path))}
    names = Names(after.config, after.vector)
    for name in [name for name, data in files.items() if data is not None]:
        names.part(check_name(name), 1.0)
    for gone in [name for name, data in files.items() if data is None]:
        left = tuple(
            f"the vector {name}" for name in derived_from(before, gone) if name not in files
        )
        if left:
            raise DependentError(gone, left)


def derived_from(snapshot: Snapshot, name: str) -> list[str]:
    """Derived vectors that a vector is a term of, sorted."""
    return [
        other
        for other in snapshot.mentioning(name)
        if isinstance(vector := snapshot.vector(other), DerivedVector)
        and any(term.vector == name for term in vector.recipe.terms)
    ]


def recorded(
    repository: Repository,
    after: Snapshot,
    message: str,
    built: Built | None,
    records: tuple[DirectoryRecord | EngineRecord, ...] = (),
) -> Edited:
    """Commit an edited snapshot of HEAD.

    Args:
        repository: where; the caller holds its lock.
        after: the edited snapshot.
        message: the commit message.
        built: its tree and layout, if they are recorded.
        records: target records to save with it.

    Raises:
        HeadMovedError: somebody moved HEAD meanwhile.
    """
    commit = PendingCommit(at(after), after.changes, message, built, records)
    made = record(repository, commit)
    return Edited(made.commit, message, after.personality, tuple(sorted(after.changes)))
