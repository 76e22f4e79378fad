"""`pvc build`: a revision's weights are computed, stored, and noted on its commit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.build.builds import Builds
from pvc.repo.history.notes import is_current, read_note, write_note
from pvc.repo.history.recovery import recover
from pvc.repo.history.revision import resolve
from pvc.repo.upkeep.prune_builds import limit_of, prune

if TYPE_CHECKING:
    from pvc.parallel import Crew
    from pvc.repo.build.overflow import Overflow
    from pvc.repo.personality.formula import Built
    from pvc.repo.repository import Repository


class OtherTreeBuiltError(PvcError):
    """A commit builds to another tree than was noted for it.

    Attributes:
        revision: the commit, as the user said it.
        found: tree id that it builds to.
        noted: tree id that was noted.
    """

    def __init__(self, revision: str, found: bytes, noted: bytes) -> None:
        self.revision = revision
        self.found = found
        self.noted = noted
        super().__init__(
            f"{revision} builds to the tree {found.hex()[:12]}, "
            f"but {noted.hex()[:12]} was noted for it."
        )


@dataclass(frozen=True, slots=True)
class BuiltRevision:
    """A revision whose tree is stored.

    Attributes:
        built: tree and layout.
        computed: whether it was computed now.
        overflows: what is Inf or NaN in it, and was computed from finite numbers.
    """

    built: Built
    computed: bool
    overflows: tuple[Overflow, ...] = ()


def build(
    repository: Repository, text: str, crew: Crew, *, allow_nonfinite: bool = False
) -> BuiltRevision:
    """Compute the tree of a revision and store it, unless it is stored already.

    Raises:
        UnknownRevisionError, AmbiguousError, ExpressionError: it names nothing.
        IdentityError, LayoutMissingError: it cannot be computed, or not laid out.
        NotFiniteError: it overflows, and that is not allowed.
        OtherTreeBuiltError: it was noted to build to another tree, by the rounding of today.
    """
    with repository.lock():
        recover(repository)
        revision = resolve(repository, text)
        config = revision.state.config
        builds = Builds(repository, config, crew, allow_nonfinite=allow_nonfinite)
        computed = builds.find(revision.formula, stored=True) is None
        built = builds.build(revision.formula)
        if revision.is_commit:
            commit = revision.state.commit
            noted = read_note(repository, commit)
            is_same = noted is not None and noted.tree == built.tree
            if noted is not None and not is_same and is_current(repository, commit):
                raise OtherTreeBuiltError(text, built.tree, noted.tree)
            if not is_same:
                write_note(repository, commit, built)
        prune(repository, limit_of(repository, revision.state.config))
        return BuiltRevision(built, computed, builds.overflows(revision.formula))
