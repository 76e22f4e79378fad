"""The content of an engine, as a repository sees it: its tree, revision and terms.

The engine's state has the tree that was last checked out, as long as it runs; the repository's
record also has the terms, and what was committed from the engine.  Only reading the weights proves
either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.live.client.model_check import OtherModelError, check_model
from pvc.repo.targets.engine_record import EngineRecord
from pvc.repo.targets.records import RecordError
from pvc.weights.apart import is_apart
from pvc.wording import agreeing, shown

if TYPE_CHECKING:
    from collections.abc import Collection

    from pvc.live.protocol.engine_state import EngineState
    from pvc.live.protocol.manifest import Manifest
    from pvc.live.protocol.process import ProcessIdentity
    from pvc.repo.personality.personality_file import Term
    from pvc.repo.repository import Repository
    from pvc_store.tree import Tree


class TornEngineError(PvcError):
    """An engine's weights are of no tree, and its steps wait.

    Attributes:
        engine: its name.
        reason: the engine's reason, a sentence.
    """

    def __init__(self, engine: str, reason: str) -> None:
        self.engine = engine
        self.reason = reason
        super().__init__(f"The engine {engine} is torn and waits to be repaired: {reason}")


class UnknownWeightsError(PvcError):
    """An engine holds weights that its repository could not give back.

    Attributes:
        engine: its name.
        nearest: what it is compared with, such as "HEAD".
        names: the tensors that differ from that.
    """

    def __init__(self, engine: str, nearest: str, names: tuple[str, ...]) -> None:
        self.engine = engine
        self.nearest = nearest
        self.names = names
        super().__init__(
            f"The engine {engine} has weights that are in no commit: {shown(names)} "
            f"{agreeing(len(names), 'differs', 'differ')} from {nearest}."
        )


@dataclass(frozen=True, slots=True)
class EngineContent:
    """The weights that an engine should have.

    Attributes:
        engine: its name.
        tree: tree id.
        revision: what was checked out: a branch, tag, commit, vector or expression; or the vector
            that was committed.
        terms: the terms of that personality, or None where it is not known.
        clean: True if no write other than pvc's was observed since.
    """

    engine: str
    tree: bytes
    revision: str
    terms: tuple[Term, ...] | None
    clean: bool

    @property
    def where(self) -> str:
        """Its name in messages."""
        return f"the engine {self.engine}"


def identity(repository: Repository) -> str:
    """The path by which engines know a repository; all its worktrees have one."""
    common = repository.git.common
    return str(common.parent if common.name == ".git" else common)


def is_foreign(repository: Repository, manifest: Manifest, state: EngineState) -> bool:
    """Whether another repository wrote to an engine last.

    Not if this one has the record of that: it was moved since, and engines know the old path.
    """
    origin = state.origin
    if origin is None or origin.repository == identity(repository):
        return False
    found = record_of(repository, manifest)
    return found is None or found.generation != state.generation


def is_moved(repository: Repository, state: EngineState) -> bool:
    """Whether an engine knows a repository, if it is its own, by another path."""
    return state.origin is not None and state.origin.repository != identity(repository)


def process_text(process: ProcessIdentity) -> str:
    """A process, in a way that no other one has."""
    return f"{process.boot} {process.namespace} {process.pid} {process.started}"


def content_of(
    repository: Repository, manifest: Manifest, state: EngineState
) -> EngineContent | None:
    """The content of an engine by state and record; None if only reading it could tell.

    The repository's record is newer than the engine's state if nothing was written since: a commit
    is recorded first, and the engine gets its label then.
    """
    found = record_of(repository, manifest)
    origin = None if is_foreign(repository, manifest, state) else state.origin
    if found is not None and found.generation == state.generation:
        labelled = origin is not None and origin.tree == found.tree and not state.dirty
        clean = labelled or found.stamp == state.stamp
        return EngineContent(manifest.name, found.tree, found.revision, found.terms, clean)
    if origin is None:
        return None
    terms = found.terms if found is not None and found.tree == origin.tree else None
    return EngineContent(manifest.name, origin.tree, origin.revision, terms, not state.dirty)


def record_of(repository: Repository, manifest: Manifest) -> EngineRecord | None:
    """The repository's record of an engine; None if it is of an earlier process, or malformed."""
    try:
        found = repository.engines.find(manifest.name)
    except RecordError:  # `pvc status` reports it
        return None
    same = found is not None and found.process == process_text(manifest.process)
    return found if same else None


def new_record(
    repository: Repository,
    manifest: Manifest,
    state: EngineState,
    built: tuple[bytes, bytes],
    label: tuple[str, tuple[Term, ...] | None],
) -> EngineRecord:
    """The record of an engine that has a tree.

    Args:
        repository: whose record it is.
        manifest: the engine's.
        state: the engine's, when it had this tree.
        built: tree id and layout id.
        label: what was checked out, a branch, tag, commit, vector or expression, or the vector
            that was committed; and the terms of that personality, or None where they are not known.
    """
    process, (revision, terms) = process_text(manifest.process), label
    return EngineRecord(
        repository.home, manifest.name, process, state.generation, state.stamp,
        *built, revision, terms,
    )  # fmt: skip


def is_kept(repository: Repository, tree: bytes) -> bool:
    """Whether a repository can give a tree back: history or a target needs it, or it was built.

    That a tree is stored is not enough: a commit that was cut short leaves one that nothing names.
    Nor is it enough that something names it: its blocks must be there, or what computes them.
    """
    return _can_restore(repository, tree) and tree in _needed(repository)


def kept_tree(repository: Repository, found: Tree, unloaded: Collection[str]) -> Tree | None:
    """A tree that a repository can give back, and that an engine has as far as it can have it.

    Args:
        repository: where.
        found: what the engine holds.
        unloaded: names of tensors that it does not load.
    """
    base = repository.store.tree(repository.head().config.base_tree)
    if not any(is_apart(name) or name in unloaded for name in base):
        return found if is_kept(repository, found.id) else None
    trees = filter(None, map(repository.find_tree, sorted(_needed(repository))))
    fitting = (tree for tree in trees if is_of(found, tree, unloaded))
    return next((tree for tree in fitting if _can_restore(repository, tree.id)), None)


def is_of(found: Tree, tree: Tree, unloaded: Collection[str]) -> bool:
    """Whether an engine that holds `found` has a tree, as far as it can have it."""
    left = {name for name in tree if is_apart(name) or name in unloaded}
    return tree.keys() - left == found.keys() and all(found[name] == tree[name] for name in found)


def _can_restore(repository: Repository, tree: bytes) -> bool:
    from pvc.repo.build.builds import Builds

    return Builds(repository, repository.head().config).can_restore(tree)


def _needed(repository: Repository) -> set[bytes]:
    """Trees that history or a target needs, or that were built."""
    from pvc.repo.build.build_cache import BuiltTrees
    from pvc.repo.upkeep.findings import Findings
    from pvc.repo.upkeep.roots import read_roots

    built = {one.tree for one in BuiltTrees(repository.folder).all()}
    return built | read_roots(repository, Findings()).trees.keys()


def fits(repository: Repository, manifest: Manifest, tree: bytes) -> bool:
    """Whether an engine runs the model that a tree is of."""
    try:
        check_model(manifest, repository.store.tree(tree))
    except OtherModelError:
        return False
    except PvcError:  # the tree is missing, as `pvc fsck` says
        return True
    return True


def nearest(candidates: dict[str, Tree], found: Tree) -> tuple[str, tuple[str, ...]]:
    """The text of the tree with the fewest tensors that differ, and the names of these."""
    differing = {
        text: tuple(name for name in found if name not in tree or tree[name] != found[name])
        for text, tree in candidates.items()
    }
    return min(differing.items(), key=lambda item: len(item[1]))
