"""Changes of the personality and the vectors by name: remove, rename, revert."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.build.builds import check_possible, known
from pvc.repo.commands.three_way import ConflictError, keyed, merge
from pvc.repo.history.recording import PendingCommit, at, check_ready, record
from pvc.repo.history.recovery import recover
from pvc.repo.history.revision import AmbiguousError, resolve
from pvc.repo.personality import config, personality_file, vector_file
from pvc.repo.personality.config import Config
from pvc.repo.personality.personality_file import Personality, Term
from pvc.repo.personality.resolve import Names, formula
from pvc.repo.personality.vector import DerivedVector
from pvc.repo.personality.vector_names import check_name
from pvc.repo.snapshot import BEHAVIOURS, NoVectorError, Snapshot, vector_name, vector_path

if TYPE_CHECKING:
    from pvc.repo.personality.formula import Built
    from pvc.repo.personality.vector import Vector
    from pvc.repo.repository import Repository
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
        super().__init__(f"{name} cannot be removed: {', '.join(dependents)} depends on it.")


class NameTakenError(PvcError):
    """There is a vector or a behaviour of that name already.

    Attributes:
        name: the name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"There is a vector or a behaviour {name} already.")


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


@dataclass(frozen=True, slots=True)
class Edited:
    """What a change did.

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


def remove(repository: Repository, name: str) -> Edited:
    """Remove a vector, with its behaviour; history and store keep both.

    Raises:
        NoVectorError: there is none of that name.
        DependentError: the personality has it as a term, or another vector is derived from it.
    """
    with repository.lock():
        head = ready(repository)
        head.vector(name)
        dependents = [f"the vector {other}" for other in _derived_from(head, name)]
        if name in head.personality.names():
            dependents.insert(0, "the personality")
        if dependents:
            raise DependentError(name, tuple(dependents))
        paths = (vector_path(name), f"{BEHAVIOURS}/{name}.toml")
        there = (path for path in paths if repository.git.read_bytes(head.commit, path) is not None)
        change = PendingCommit(
            at(head), dict.fromkeys(there), f"Remove {name}", _built(repository, head)
        )
        return recorded(repository, head.personality, change)


def rename(repository: Repository, old: str, new: str) -> Edited:
    """Rename a vector, with its terms and its behaviour.

    Raises:
        NoVectorError: there is none of the old name.
        NameTakenError, AmbiguousError, VectorNameError: the new name cannot be had.
    """
    check_name(new)
    with repository.lock():
        head = ready(repository)
        head.vector(old)
        if repository.git.is_ref(new):
            raise AmbiguousError(new)
        changes: Changes = {}
        for before, after in (
            (vector_path(old), vector_path(new)),
            (f"{BEHAVIOURS}/{old}.toml", f"{BEHAVIOURS}/{new}.toml"),
        ):
            if repository.git.read_bytes(head.commit, after) is not None:
                raise NameTakenError(new)
            data = repository.git.read_bytes(head.commit, before)
            if data is not None:
                changes |= {before: None, after: data}
        for other in _derived_from(head, old):
            changes[vector_path(other)] = _with_renamed(head.vector(other), old, new)
        terms = _renamed(head.personality.terms, old, new)
        changed = Personality(terms)
        if changed != head.personality:
            changes[personality_file.PATH] = personality_file.edit(
                head.personality_text, changed
            ).encode()
        known: list[DirectoryRecord | EngineRecord]
        known = [*repository.targets.all(), *repository.engines.all()]
        targets = tuple(
            replace(target, terms=_renamed(target.terms, old, new))
            for target in known
            if target.terms is not None
        )
        change = PendingCommit(
            at(head), changes, f"Rename {old} to {new}", _built(repository, head), targets
        )
        return recorded(repository, changed, change)


def _derived_from(head: Snapshot, name: str) -> list[str]:
    """Derived vectors that a vector is a term of."""
    return [
        other
        for other in head.names
        if isinstance(vector := head.vector(other), DerivedVector)
        and any(term.vector == name for term in vector.recipe.terms)
    ]


def _with_renamed(vector: Vector, old: str, new: str) -> bytes:
    if not isinstance(vector, DerivedVector):
        raise TypeError("only derived vectors name others")
    made = replace(vector.recipe, terms=_renamed(vector.recipe.terms, old, new))
    counts = tuple((_renamed_count(key, old, new), value) for key, value in vector.counts)
    return vector_file.to_text(replace(vector, recipe=made, counts=counts)).encode()


def _renamed_count(key: str, old: str, new: str) -> str:
    what, _, name = key.partition(" ")
    return f"{what} {new}" if name == old else key


def _built(repository: Repository, state: Snapshot) -> Built | None:
    return known(repository, state.config, state.formula)


def _renamed(terms: tuple[Term, ...], old: str, new: str) -> tuple[Term, ...]:
    return tuple(replace(term, vector=new) if term.vector == old else term for term in terms)


def revert(repository: Repository, text: str) -> Edited:
    """Take back what one commit did to terms and vectors, by a new commit.

    Raises:
        NotRevertibleError: it is no commit, has several parents, or none.
        ConflictError: later commits changed the same again.
        IdentityError: what is left cannot be computed.
    """
    with repository.lock():
        head = ready(repository)
        revision = resolve(repository, text)
        if not revision.is_commit:
            raise NotRevertibleError(text, "it is not a commit")
        after = revision.state
        parents = repository.git.parents(after.commit)
        if len(parents) != 1:
            raise NotRevertibleError(text, f"it has {len(parents)} parents, not one")
        before = Snapshot(repository.git, parents[0])
        if repository.git.read(before.commit, config.PATH) is None:
            raise NotRevertibleError(text, "it is where the repository begins")
        subject = next(iter(repository.git.log(["-n", "1", after.commit]))).subject
        what = f'Revert "{subject}"'
        changes = _inverse_files(head, before, after, what)
        terms = merge(
            keyed(after.personality.terms),
            keyed(head.personality.terms),
            keyed(before.personality.terms),
        )
        if terms.conflicts:
            raise ConflictError(what, tuple(f"the term {name}" for name in terms.conflicts))
        changed = Personality(tuple(terms.values.values()))
        if changed != head.personality:
            changes[personality_file.PATH] = personality_file.edit(
                head.personality_text, changed
            ).encode()
        if not changes:
            raise NotRevertibleError(text, "nothing of what it did is left")
        built = build_with(repository, head, changed, changes)
        return recorded(repository, changed, PendingCommit(at(head), changes, what, built))


def _inverse_files(head: Snapshot, before: Snapshot, after: Snapshot, what: str) -> Changes:
    """What brings vectors and behaviours from HEAD to where they were before a commit."""
    now = _texts(head)
    merged = merge(_texts(after), now, _texts(before))
    if merged.conflicts:
        names = ((vector_name(path), path) for path in merged.conflicts)
        raise ConflictError(
            what, tuple(f"the vector {name}" if name else path for name, path in names)
        )
    return {
        path: merged.values.get(path)
        for path in sorted({*now, *merged.values})
        if now.get(path) != merged.values.get(path)
    }


def _texts(state: Snapshot) -> dict[str, bytes]:
    git, commit = state.git, state.commit
    paths = [*git.files(commit, vector_file.DIRECTORY), *git.files(commit, BEHAVIOURS)]
    found = ((path, git.read_bytes(commit, path)) for path in paths)
    return {path: data for path, data in found if data is not None}


def build_with(
    repository: Repository, head: Snapshot, edited: Personality, changes: Changes
) -> Built | None:
    """What a personality builds to, with changed files in place of HEAD's; None if not yet known.

    Raises:
        NoVectorError, VectorError, ForeignVectorError, CycleError: a vector cannot be had.
        DependentError: a derived vector is left whose vectors are not all there any more.
        IdentityError: it cannot be computed.
        MissingError: the store lacks what it leads to.
    """

    def text(path: str) -> str | None:
        if path not in changes:
            return head.git.read(head.commit, path)
        data = changes[path]
        return None if data is None else data.decode(errors="replace")

    def vector(name: str) -> Vector:
        found = text(vector_path(name))
        if found is None:
            raise NoVectorError(name, "the edited files")
        return vector_file.parse(found, vector_path(name))

    pinned = Config.parse(text(config.PATH) or "")
    _check_vectors(head, changes, Names(pinned, vector))
    what = formula(pinned, edited, vector)
    check_possible(repository, what)
    return known(repository, pinned, what)


def _check_vectors(head: Snapshot, changes: Changes, names: Names) -> None:
    """Make sure that vectors that change can be had, and that those which stay still can."""
    files = {name: data for path, data in changes.items() if (name := vector_name(path))}
    for name in [name for name, data in files.items() if data is not None]:
        names.part(check_name(name), 1.0)
    for gone in [name for name, data in files.items() if data is None]:
        left = tuple(
            f"the vector {name}" for name in _derived_from(head, gone) if name not in files
        )
        if left:
            raise DependentError(gone, left)


def ready(repository: Repository) -> Snapshot:
    """HEAD, where a commit can be made of it; raises as `record.check_ready`."""
    recover(repository)
    repository.check_clean()
    check_ready(repository)
    return repository.head()


def recorded(repository: Repository, after: Personality, change: PendingCommit) -> Edited:
    """Record a change, and say what it did; raises as `record.record`."""
    state = record(repository, change)
    return Edited(state.commit, change.message, after, tuple(sorted(change.files)))
