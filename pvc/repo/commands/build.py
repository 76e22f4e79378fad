"""Build: a revision's weights are computed and stored, and noted on its commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.build.builds import Realised, realise
from pvc.repo.history.recording import read_note, write_note
from pvc.repo.history.recovery import recover
from pvc.repo.history.revision import resolve
from pvc.repo.upkeep.prune_builds import limit_of, prune

if TYPE_CHECKING:
    from pvc.parallel import Crew
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


def build(repository: Repository, text: str, crew: Crew) -> Realised:
    """Compute what a revision is, unless it is stored already.

    Raises:
        UnknownRevisionError, AmbiguousError, ExpressionError: it names nothing.
        IdentityError, LayoutMissingError: it cannot be computed, or not laid out.
        OtherTreeBuiltError: it was noted to build to another tree.
    """
    with repository.lock():
        recover(repository)
        revision = resolve(repository, text)
        done = realise(repository, revision.state.config, revision.formula, crew)
        if revision.is_commit:
            commit = revision.state.commit
            noted = read_note(repository, commit)
            if noted is not None and noted.tree != done.built.tree:
                raise OtherTreeBuiltError(text, done.built.tree, noted.tree)
            if noted is None:
                write_note(repository, commit, done.built)
        prune(repository, limit_of(repository, revision.state.config))
        return done
