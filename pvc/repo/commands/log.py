"""`pvc log` and `pvc show`: the changes of each commit to the personality and to vectors."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.git import LogEntry, UnknownRevisionError
from pvc.repo.personality import personality_file, vector_file
from pvc.repo.personality.vector_names import is_name
from pvc.repo.snapshot import PATHS, Snapshot, vector_name, vector_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pvc.repo.git import FileChange, Git
    from pvc.repo.history.revision import Revision
    from pvc.repo.personality.formula import Built
    from pvc.repo.personality.personality_file import Personality
    from pvc.repo.personality.vector import Vector
    from pvc.repo.repository import Repository


@dataclass(frozen=True, slots=True)
class VectorChange:
    """The change of a commit to a vector.

    Attributes:
        name: the vector.
        action: "added", "changed" or "removed".
        vector: the vector afterwards, or None.
    """

    name: str
    action: str
    vector: Vector | None


@dataclass(frozen=True, slots=True)
class Event:
    """One commit.

    Attributes:
        entry: the commit as git lists it.
        personality: its personality, or None if that cannot be read.
        vectors: its changes to vectors.
    """

    entry: LogEntry
    personality: Personality | None
    vectors: tuple[VectorChange, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """One commit or vector, in full.

    Attributes:
        revision: what was asked for.
        event: the commit; for a vector, the one that wrote it last; None for the base.
        built: its tree and layout, or None if they are not recorded.
        noted: whether that was noted when the commit was made.
    """

    revision: Revision
    event: Event | None
    built: Built | None
    noted: bool


def log(repository: Repository, text: str | None, limit: int | None) -> Iterator[Event]:
    """The commits that changed files of pvc, newest first.

    Args:
        repository: where.
        text: a vector, for its own history; or a revision to begin at; None for HEAD.
        limit: the most commits; None for all.

    Raises:
        UnknownRevisionError: `text` names nothing.
        AmbiguousError: it is both a vector and a branch or tag.
    """
    head = repository.head()
    arguments = [] if limit is None else ["-n", str(limit)]
    if text is None:
        return _events(repository, arguments, PATHS)
    is_ref = repository.git.is_ref(text)
    if is_ref and text in head.names:
        from pvc.repo.history.revision import AmbiguousError

        raise AmbiguousError(text)
    if is_name(text) and not is_ref:
        path = vector_path(text)
        if text in head.names or any(repository.git.log(["-n", "1"], [path])):
            return _events(repository, arguments, [path])
    commit = repository.git.find(text)
    if commit is None:
        raise UnknownRevisionError(text)
    return _events(repository, [*arguments, commit], PATHS)


def show(repository: Repository, text: str) -> Shown:
    """One commit, vector, expression, or the base, in full."""
    from pvc.repo.build.builds import Builds  # `log` needs none of these
    from pvc.repo.history.notes import read_note
    from pvc.repo.history.revision import resolve

    revision = resolve(repository, text)
    built = Builds(repository, revision.state.config).find(revision.formula)
    if revision.is_base or revision.parts is not None:
        return Shown(revision, None, built, noted=False)
    commit = revision.state.commit
    paths = [] if revision.vector is None else [vector_path(revision.vector[0])]
    event = next(_events(repository, ["-n", "1", commit], paths), None)
    noted = revision.vector is None and read_note(repository, commit) is not None
    return Shown(revision, event, built, noted)


def _events(repository: Repository, arguments: list[str], paths: Sequence[str]) -> Iterator[Event]:
    files = _Files(repository.git)
    for entry, changes in repository.git.log(arguments, paths):
        vectors = tuple(
            files.change(one, name)
            for one in changes
            if (name := vector_name(one.path)) is not None
        )
        yield Event(entry, files.personality(entry.commit), vectors)


class _Files:
    """Files of commits; each content is parsed once, since most commits hold what others hold."""

    def __init__(self, git: Git) -> None:
        self._git = git
        self._personalities: dict[str, Personality | None] = {}

    def change(self, change: FileChange, name: str) -> VectorChange:
        """The change of a commit to a vector."""
        action = {"A": "added", "D": "removed"}.get(change.letter, "changed")
        found = None if action == "removed" else self._git.blob(change.blob)
        vector = None
        if found is not None:
            with contextlib.suppress(PvcError):
                vector = vector_file.parse(found.data.decode(errors="replace"), change.path)
        return VectorChange(name, action, vector)

    def personality(self, commit: str) -> Personality | None:
        """The personality of a commit, or None if it cannot be read."""
        found = self._git.blob(f"{commit}:{personality_file.PATH}")
        if found is None:  # there is none, or it is damaged
            return _personality(Snapshot(self._git, commit))
        if found.name not in self._personalities:
            state = Snapshot(self._git, commit, {personality_file.PATH: found.data})
            self._personalities[found.name] = _personality(state)
        return self._personalities[found.name]


def _personality(state: Snapshot) -> Personality | None:
    try:
        return state.personality
    except PvcError:
        return None
