"""`pvc status`: where HEAD is, which files are edited, and the state of the targets."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.repo.build.builds import Builds
from pvc.repo.build.labels import as_of_now
from pvc.repo.history.journal import JournalError, JournalFile

if TYPE_CHECKING:
    from pathlib import Path

    from pvc.errors import MalformedError
    from pvc.repo.personality.config import Config
    from pvc.repo.personality.personality_file import Personality
    from pvc.repo.repository import Repository
    from pvc.repo.targets.directory_record import DirectoryRecord


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """A directory that pvc has written.

    Attributes:
        path: the directory.
        revision: what was checked out there.
        tree: tree id that was written.
        state: "clean", "changed" (its files were touched since), "missing", "replaced" (something
            else is in its place), or "other" (the repository that this one is a copy of wrote it).
        changed: files that were touched; of a directory that was replaced, what is there.
        is_head: whether HEAD's tree was written there.
    """

    path: Path
    revision: str
    tree: bytes
    state: str
    changed: tuple[str, ...]
    is_head: bool


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a repository.

    Attributes:
        root: top of the working tree.
        branch: the branch, or None if HEAD is detached.
        commit: HEAD's commit.
        personality: HEAD's personality.
        tree: tree id that it builds to, or None if that is not recorded.
        aside: vectors that are not terms.
        edited: pvc's files that differ from HEAD.
        unfinished: the git operation that is under way, or None.
        busy: which other pvc is at work, or None.
        interrupted: whether an operation of pvc was cut short; the next one that changes anything
            finishes or undoes it.
        config: the base pin.
        has_store: whether there is a store.
        base_present: whether the directory that the base was read from is there.
        targets: the directories.
        malformed: records beside the store that cannot be read: the journal, targets.
    """

    root: Path
    branch: str | None
    commit: str
    personality: Personality
    tree: bytes | None
    aside: tuple[str, ...]
    edited: tuple[str, ...]
    unfinished: str | None
    busy: str | None
    interrupted: bool
    config: Config
    has_store: bool
    base_present: bool
    targets: tuple[TargetStatus, ...]
    malformed: tuple[MalformedError, ...]


def status(repository: Repository) -> Status:
    """The state of a repository; reads no weights."""
    head, busy = repository.head(), repository.busy()
    tree = Builds(repository, head.config).tree_of(head.formula)
    applied = head.personality.names()
    return Status(
        root=repository.root,
        branch=repository.git.branch(),
        commit=head.commit,
        personality=head.personality,
        tree=tree,
        aside=tuple(name for name in head.names if name not in applied),
        edited=repository.edited(),
        unfinished=repository.git.unfinished(),
        busy=busy,
        interrupted=busy is None and JournalFile(repository).exists(),
        config=head.config,
        has_store=repository.has_store,
        base_present=(repository.root / head.config.base_path).is_dir(),
        targets=tuple(_target(repository, target, tree) for target in _targets(repository)),
        malformed=(
            *_malformed_journal(repository),
            *repository.targets.malformed(),
            *repository.engines.malformed(),
        ),
    )


def _malformed_journal(repository: Repository) -> tuple[JournalError, ...]:
    try:
        JournalFile(repository).read()
    except JournalError as error:
        return (error,)
    return ()


def _targets(repository: Repository) -> list[DirectoryRecord]:
    records = repository.targets
    return sorted([*records.all(), *records.of_others()], key=lambda record: record.path)


def _target(
    repository: Repository, target: DirectoryRecord, head_tree: bytes | None
) -> TargetStatus:
    state, changed = _state(repository, target)
    revision = as_of_now(repository, target.revision, target.tree)
    return TargetStatus(
        target.path, revision, target.tree, state, changed, target.tree == head_tree
    )


def _state(repository: Repository, target: DirectoryRecord) -> tuple[str, tuple[str, ...]]:
    from pvc.repo.targets.directory import changed
    from pvc.repo.targets.open_directory import LinkError, OpenDirectory, ReplacedError

    if not target.home.is_same(repository.home):
        return "other", ()
    if not os.path.lexists(target.path):
        return "missing", ()
    try:
        with OpenDirectory(target.path) as inside:
            if not target.is_of(inside.identity):
                return "replaced", ("another directory",)
            names = changed(inside, target, _paths(repository, target))
    except (ReplacedError, LinkError) as error:
        return "replaced", (error.found,)
    return ("changed" if names else "clean"), tuple(names)


def _paths(repository: Repository, target: DirectoryRecord) -> list[str]:
    """The files of a target; a layout is read only if its record has no stamps."""
    if target.stamps:
        return list(target.stamps)
    layout = repository.find_layout(target.layout)
    return ["?"] if layout is None else [file.path for file in layout.files]
