"""The origin of a commit: the tree that a training result started from, to which it is compared.

Some things say it before any weights are read: the user, the record of a target, a file of the
trainer, or that HEAD is the base, so that there is nothing to choose from.  Otherwise it is the
base or HEAD, and `origin_choice` chooses once the weights are read and their bits are counted.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from pvc.errors import PvcError
from pvc.repo.build.build_cache import BuiltTrees
from pvc.repo.build.builds import Builds
from pvc.repo.commands.named_parent import read_named_parents
from pvc.repo.history.revision import BASE, resolve
from pvc.repo.personality.config import PATH as CONFIG
from pvc.repo.personality.vector import CapturedVector
from pvc.repo.snapshot import vector_path
from pvc.repo.targets.directory import is_untouched

if TYPE_CHECKING:
    from pathlib import Path

    from pvc.parallel import Crew
    from pvc.repo.personality.formula import Built, Formula
    from pvc.repo.personality.personality_file import Term
    from pvc.repo.repository import Repository
    from pvc.repo.snapshot import Snapshot

HEAD = "HEAD"


class OtherTreeError(PvcError):
    """A target holds another tree than HEAD's.

    Attributes:
        where: the directory or engine, for messages.
        revision: what was checked out there.
    """

    def __init__(self, where: str, revision: str) -> None:
        self.where = where
        self.revision = revision
        super().__init__(
            f"What was checked out to {where} is {revision}, which is another tree than HEAD's."
        )


class UnknownParentError(PvcError):
    """A result names a parent that is not in the repository.

    Attributes:
        where: the result's directory.
        tree: tree id of the parent.
    """

    def __init__(self, where: str, tree: bytes) -> None:
        self.where = where
        self.tree = tree
        super().__init__(
            f"{where} says that it was trained from tree {tree.hex()[:12]}, which is not in this "
            "repository."
        )


class Told(Enum):
    """What told the origin of a commit; `value` is the word for it in JSON."""

    USER = "said"
    TARGET = "target"
    TRAINER = "trainer_state"
    ONLY = "only"
    BITS = "elements"
    SAME = "same"
    DEFAULT = "pvc.toml"
    ASIDE = "aside"


@dataclass(frozen=True, slots=True)
class CommitOrigin:
    """The tree that a training result started from.

    Attributes:
        tree: its tree id.
        terms: the terms of that personality, or None where it is not known.
        text: the revision, as the user said it.
        recipe: digest of the formula that the tree was computed by; None if it was captured.
    """

    tree: bytes
    terms: tuple[Term, ...] | None
    text: str
    recipe: bytes | None = None


@dataclass(frozen=True, slots=True)
class Candidates:
    """What a result may have started from, before its weights are read.

    Attributes:
        likely: what it is measured against at first.
        rival: the other one, the bits of which are counted too; None where there is none.
        told: what told that it is `likely`; None if nothing did.
    """

    likely: CommitOrigin
    rival: CommitOrigin | None
    told: Told | None


class TargetContent(Protocol):
    """What pvc last wrote to a directory or an engine, before training went on there."""

    @property
    def where(self) -> str:
        """The directory or engine, for messages."""
        ...

    @property
    def tree(self) -> bytes:
        """Tree id."""
        ...

    @property
    def revision(self) -> str:
        """What was checked out, as the user said it."""
        ...

    @property
    def terms(self) -> tuple[Term, ...] | None:
        """The terms of that personality, or None where it is not known."""
        ...


def revision_origin(repository: Repository, text: str, crew: Crew) -> CommitOrigin:
    """The tree of a revision, from which a result was trained as the user says.

    Args:
        repository: where.
        text: the revision; a captured vector stands for what it leads to.
        crew: computes the tree, if it is not stored.
    """
    revision = resolve(repository, text)
    if revision.vector and isinstance(revision.vector[1], CapturedVector):
        return CommitOrigin(revision.vector[1].to_tree, revision.terms, text)
    built = Builds(repository, revision.state.config, crew, allow_nonfinite=True).build(
        revision.formula
    )
    return CommitOrigin(built.tree, revision.terms, text, recipe=_recipe(revision.formula))


def candidates(
    repository: Repository, head: Snapshot, directory: Path | None, crew: Crew
) -> Candidates:
    """The base and HEAD, for a result of which neither the user nor a target's record says it.

    Args:
        repository: where.
        head: HEAD.
        directory: where the trainer's own files may be; None if there are none.
        crew: computes HEAD's tree, if it is not stored.

    Raises:
        UnknownParentError: the trainer's files name a tree that is not in the repository.
    """
    config = head.config
    built = Builds(repository, config, crew, allow_nonfinite=True).build(head.formula)
    base = CommitOrigin(config.base_tree, (), BASE)
    if built.tree == config.base_tree:
        return Candidates(base, None, Told.ONLY)
    there = CommitOrigin(built.tree, head.personality.terms, HEAD, _recipe(head.formula))
    named = None if directory is None else _named(repository, head, directory, built)
    if named is None:
        return Candidates(base, there, None)
    if named in {base.tree, there.tree}:
        likely, rival = (base, there) if named == base.tree else (there, base)
        return Candidates(likely, rival, Told.TRAINER)
    if repository.find_tree(named) is None:
        raise UnknownParentError(str(directory), named)
    Builds(repository, config, crew).restore(named)
    return Candidates(CommitOrigin(named, None, named.hex()[:12]), None, Told.TRAINER)


def _named(repository: Repository, head: Snapshot, directory: Path, built: Built) -> bytes | None:
    """The tree that the trainer's files name, or that a directory holds which they name."""
    config = head.config
    layouts = [repository.store.layout(one) for one in {config.base_layout, built.layout}]
    named = read_named_parents(directory, layouts)
    if named.tree is not None or not named.places:
        return named.tree
    believed = {}
    for place in named.places:
        tree = _known_content(repository, head, place, built)
        if tree is not None and _last_written(place) <= named.written:
            believed[place] = tree
    found = set(believed.values())
    return found.pop() if len(found) == 1 else None


def _known_content(
    repository: Repository, head: Snapshot, place: Path, built: Built
) -> bytes | None:
    """The tree that a directory has had for as long as the repository knows it, and no other."""
    target = repository.targets.find(place)
    if target is not None:
        return target.tree if is_untouched(target) else None
    config = head.config
    if str(place) == os.path.realpath(repository.root / config.base_path):
        began = head.git.ask("log", "--diff-filter=A", "--format=%ct", head.commit, "--", CONFIG)
        return config.base_tree if _last_written(place) <= _seconds(began) else None
    for name in head.names:
        vector = head.vector(name)
        if not isinstance(vector, CapturedVector) or vector.to_tree != built.tree:
            continue
        if dict(vector.provenance).get("origin", "") == str(place):
            path = vector_path(name)
            committed = head.git.ask("log", "-1", "--format=%ct", head.commit, "--", path)
            return built.tree if _last_written(place) <= _seconds(committed) else None
    return None


def _seconds(dates: str) -> float:
    """The end of the second of the oldest date that git lists."""
    return float(dates.rsplit(maxsplit=1)[-1]) + 1 if dates else -math.inf


def _last_written(place: Path) -> float:
    """When weights were last written or moved to a directory, in seconds since 1970.

    A copy may keep the time of the last write, and not that of the last change of metadata; what is
    moved to a place changes the folder.
    """
    try:
        files = [file.stat() for file in place.rglob("*.safetensors")]
        folder = place.stat()
    except OSError:
        return math.inf
    times = [max(one.st_mtime, one.st_ctime) for one in (*files, folder)]
    return max(times) if files else math.inf


def target_candidates(
    repository: Repository, head: Snapshot, target: TargetContent, crew: Crew, *, aside: bool
) -> Candidates:
    """The tree that pvc last wrote to a target; its rival is the base.

    Args:
        repository: where.
        head: HEAD.
        target: what was written to the target.
        crew: computes trees that are not stored.
        aside: whether the personality will stay as it is.

    Raises:
        OtherTreeError: the target holds another tree than HEAD's, and would be applied.
        UnkeptTreeError: its tree is not stored, nor computed again.
    """
    builds = Builds(repository, head.config, crew, allow_nonfinite=True)
    built = builds.find(head.formula) or builds.build(head.formula)
    is_head = target.tree == built.tree
    if not (is_head or aside):
        raise OtherTreeError(target.where, target.revision)
    builds.restore(target.tree)
    base = head.config.base_tree
    rival = None if target.tree == base else CommitOrigin(base, (), BASE)
    if is_head:
        terms, recipe = head.personality.terms, _recipe(head.formula)
        origin = CommitOrigin(target.tree, terms, target.revision, recipe)
    else:
        made = BuiltTrees(repository.folder).of(target.tree)
        recipe = made[0].digest if made else None
        origin = CommitOrigin(target.tree, target.terms, target.revision, recipe)
    return Candidates(origin, rival, Told.TARGET)


def _recipe(formula: Formula) -> bytes | None:
    return None if formula.exact else formula.digest()
