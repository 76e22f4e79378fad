"""`pvc checkout`: a revision's weights go to a target, then HEAD moves.

The target, a directory or an engine, is written first and verified; HEAD moves last.  Whatever
fails in between, the target goes back to its old weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from pvc.repo.commands.checkout_dtypes import dtypes_of
from pvc.repo.commands.checkout_transaction import CheckoutTransaction

if TYPE_CHECKING:
    from pathlib import Path

    from pvc.parallel import Crew
    from pvc.repo.build.overflow import Overflow
    from pvc.repo.commands.checkout_dtypes import CheckoutDtypes
    from pvc.repo.history.revision import Revision
    from pvc.repo.personality.formula import Built
    from pvc.repo.repository import Repository


@dataclass(frozen=True, slots=True)
class Rescue:
    """Weights of an engine that were kept before they were overwritten.

    Attributes:
        tag: of the commit.
        vector: name of the vector in it.
        tree: tree id.
    """

    tag: str
    vector: str
    tree: bytes


@dataclass(frozen=True, slots=True)
class CheckedOut:
    """A checkout that was done.

    Attributes:
        revision: what was checked out.
        built: its tree and layout.
        head_moved: whether HEAD stands somewhere else now.
        written_bytes: bytes of the blocks that differed.
        directory: where they were written, or None.
        created: whether the directory is new.
        engine: name of the engine that was written to, or None.
        paused_seconds: for how long the engine's steps had to wait.
        unread: how many tensors the engine keeps in another form, so that they cannot be verified.
        rescue: weights of the engine that were kept before they were overwritten.
        unloaded: tensors that differ from the base's, and that the engine does not load.
        overflows: what is Inf or NaN in the weights, and was computed from finite numbers.
        dtypes: which rule gave the weights their dtypes, if there was a choice.
    """

    revision: Revision
    built: Built
    head_moved: bool
    written_bytes: int = 0
    directory: Path | None = None
    created: bool = False
    engine: str | None = None
    paused_seconds: float | None = None
    unread: int | None = None
    rescue: Rescue | None = None
    unloaded: tuple[str, ...] = ()
    overflows: tuple[Overflow, ...] = ()
    dtypes: CheckoutDtypes | None = None


class Target(Protocol):
    """Where weights are checked out to."""

    def write(self, transaction: CheckoutTransaction) -> CheckedOut:
        """Write and verify the weights between begin and end of the transaction's journal."""
        ...


def checkout(  # noqa: PLR0913 - what, where to, and how
    repository: Repository,
    text: str,
    target: Target,
    *,
    keep_head: bool = False,
    dtype: str | None = None,
    allow_nonfinite: bool = False,
    crew: Crew,
) -> CheckedOut:
    """Check a revision out.

    Args:
        repository: where.
        text: a revision, a vector, an expression or the base; HEAD moves for a revision only.
        target: where its weights go.
        keep_head: leave HEAD where it is.
        dtype: "base", or the name of the base's only float dtype: the weights are rounded to it if
            they were committed in wider floats, and HEAD stays.
        allow_nonfinite: accept Inf and NaN that arithmetic on finite numbers gives.
        crew: threads, and who is shown the progress.

    Raises:
        UnknownRevisionError, AmbiguousError, ExpressionError: the text names nothing.
        EditedError, BlockedMoveError: HEAD would move away from edits.
        IdentityError, LayoutMissingError: the weights cannot be computed, or not laid out as files.
        NotFiniteError: they overflow.
        OtherDtypeError: the base has no such dtype.
    """
    with CheckoutTransaction.open(
        repository,
        text,
        crew,
        keep_head=keep_head,
        dtype=dtype,
        allow_nonfinite=allow_nonfinite,
    ) as transaction:
        done = target.write(transaction)
        formula = transaction.revision.formula
        return replace(
            done,
            overflows=transaction.builds.overflows(formula),
            dtypes=dtypes_of(repository, transaction.config, formula, done.built.tree, crew),
        )
