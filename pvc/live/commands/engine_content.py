"""What an engine holds, in terms of a repository.

The engine knows what was last checked out into it, as long as it runs; the repository's record also
knows the terms, and what was committed from it.  Neither is proof: only content is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.targets.directory_record import RecordError
from pvc.repo.targets.engine_record import EngineRecord
from pvc.wording import shown

if TYPE_CHECKING:
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
        reason: why, in the engine's words.
    """

    def __init__(self, engine: str, reason: str) -> None:
        self.engine = engine
        self.reason = reason
        super().__init__(f"The engine {engine} is torn and waits to be repaired: {reason}")


class UnknownWeightsError(PvcError):
    """An engine holds weights that its repository could not give back.

    Attributes:
        engine: its name.
        nearest: what it is compared with, in words.
        names: the tensors that differ from that.
    """

    def __init__(self, engine: str, nearest: str, names: tuple[str, ...]) -> None:
        self.engine = engine
        self.nearest = nearest
        self.names = names
        super().__init__(
            f"The engine {engine} holds weights that are in no commit: "
            f"{shown(names)} differ from {nearest}."
        )


@dataclass(frozen=True, slots=True)
class EngineContent:
    """What an engine is thought to hold.

    Attributes:
        engine: its name.
        tree: tree id.
        revision: what was checked out, as the user said it; after a commit, the vector.
        terms: the terms of that personality, or None where it is not known.
        clean: whether nobody was seen to write to the weights since.
    """

    engine: str
    tree: bytes
    revision: str
    terms: tuple[Term, ...] | None
    clean: bool

    @property
    def where(self) -> str:
        """What it is, for messages."""
        return f"the engine {self.engine}"


def identity(repository: Repository) -> str:
    """What a repository calls itself to engines; all its worktrees are one."""
    common = repository.git.common
    return str(common.parent if common.name == ".git" else common)


def is_foreign(repository: Repository, state: EngineState) -> bool:
    """Whether another repository wrote to an engine last."""
    return state.origin is not None and state.origin.repository != identity(repository)


def process_text(process: ProcessIdentity) -> str:
    """A process, in a way that no other one has."""
    return f"{process.boot} {process.namespace} {process.pid} {process.started}"


def held(repository: Repository, manifest: Manifest, state: EngineState) -> EngineContent | None:
    """What an engine is thought to hold; None if only its content could tell.

    The repository's record is newer than the engine's own word if nobody wrote to the engine since:
    a commit is recorded first, and told to the engine then.
    """
    found = record(repository, manifest)
    origin = None if is_foreign(repository, state) else state.origin
    if found is not None and found.generation == state.generation:
        told = origin is not None and origin.tree == found.tree and not state.dirty
        clean = told or found.stamp == state.stamp
        return EngineContent(manifest.name, found.tree, found.revision, found.terms, clean)
    if origin is None:
        return None
    terms = found.terms if found is not None and found.tree == origin.tree else None
    return EngineContent(manifest.name, origin.tree, origin.revision, terms, not state.dirty)


def record(repository: Repository, manifest: Manifest) -> EngineRecord | None:
    """The repository's record of an engine; None if it is of an earlier process, or malformed."""
    try:
        found = repository.engines.find(manifest.name)
    except RecordError:  # `status` tells
        return None
    same = found is not None and found.process == process_text(manifest.process)
    return found if same else None


def new_record(
    manifest: Manifest,
    state: EngineState,
    built: tuple[bytes, bytes],
    revision: str,
    terms: tuple[Term, ...] | None,
) -> EngineRecord:
    """What is to be recorded of an engine that holds a tree.

    Args:
        manifest: the engine's.
        state: the engine's, when it held just this.
        built: tree id and layout id.
        revision: what it is, in the user's words.
        terms: the terms of that personality, or None where it is not known.
    """
    process = process_text(manifest.process)
    return EngineRecord(
        manifest.name, process, state.generation, state.stamp, *built, revision, terms
    )


def is_kept(repository: Repository, tree: bytes) -> bool:
    """Whether a repository can give a tree back: history or a target needs it, or it was built.

    That a tree is stored is not enough: a commit that was cut short leaves one that nothing names.
    Nor is it enough that something names it: its blocks must be there, or what computes them.
    """
    from pvc.repo.build.build_cache import BuiltTrees
    from pvc.repo.build.builds import Builds
    from pvc.repo.upkeep.findings import Findings
    from pvc.repo.upkeep.roots import read_roots

    if not Builds(repository, repository.head().config).can_restore(tree):
        return False
    was_built = bool(BuiltTrees(repository.folder).of(tree))
    return was_built or tree in read_roots(repository, Findings()).trees


def nearest(candidates: dict[str, Tree], found: Tree) -> tuple[str, tuple[str, ...]]:
    """Which of some trees has the fewest tensors that differ, in words, and these tensors."""
    differing = {
        text: tuple(name for name in found if name not in tree or tree[name] != found[name])
        for text, tree in candidates.items()
    }
    return min(differing.items(), key=lambda item: len(item[1]))
