"""A checkout as a transaction: HEAD moves once the target is written, or all is as it was.

    with CheckoutTransaction.open(...) as transaction:      the repository is locked
        built = transaction.find()                          the tree is known
        with transaction.begin(...):                        the journal begins
            ...                                             the target is written and verified
                                                            HEAD moves, the journal ends

If the inner block fails, what it wrote is undone at once; if the process is killed, the next
command undoes it, or finishes it where HEAD has moved.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pvc.repo.build.builds import Builds
from pvc.repo.commands.checkout_dtypes import check_dtype
from pvc.repo.history.journal import DirectoryWrite, Journal
from pvc.repo.history.recovery import Journalled, position, recover
from pvc.repo.history.revision import resolve
from pvc.repo.targets.directory_record import DirectoryRecord
from pvc.repo.upkeep.prune_builds import limit_of, prune

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pvc.parallel import Crew
    from pvc.repo.build.builds import Drafting
    from pvc.repo.history.revision import Revision
    from pvc.repo.personality.config import Config
    from pvc.repo.personality.formula import Built
    from pvc.repo.repository import Repository
    from pvc.repo.targets.home import Identity


@dataclass(frozen=True, slots=True)
class CheckoutTransaction:
    """A checkout under way; the repository is locked.

    Attributes:
        repository: where.
        revision: what is checked out.
        head: branch, or commit if detached, that HEAD stands at, and its commit.
        moves: whether HEAD moves to the revision at the end.
        crew: threads, and who is shown the progress.
        allow_nonfinite: accept Inf and NaN that arithmetic on finite numbers gives.
    """

    repository: Repository
    revision: Revision
    head: tuple[str, str]
    moves: bool
    crew: Crew
    allow_nonfinite: bool = False

    @classmethod
    @contextlib.contextmanager
    def open(  # noqa: PLR0913 - what, where to, and how
        cls,
        repository: Repository,
        text: str,
        crew: Crew,
        *,
        keep_head: bool,
        dtype: str | None = None,
        allow_nonfinite: bool = False,
    ) -> Iterator[CheckoutTransaction]:
        """Lock the repository, resolve the revision, and make sure that HEAD can move there.

        Args:
            repository: where.
            text: a revision, a vector, an expression or the base; HEAD moves for a revision only.
            crew: threads, and who is shown the progress.
            keep_head: leave HEAD where it is.
            dtype: see `checkout`.
            allow_nonfinite: accept Inf and NaN that arithmetic on finite numbers gives.

        Raises:
            UnknownRevisionError, AmbiguousError, ExpressionError: it names nothing.
            EditedError, BlockedMoveError: HEAD would move away from edits.
            OtherDtypeError: the base has no such dtype.
        """
        with repository.lock():
            recover(repository)
            revision = resolve(repository, text)
            if dtype is not None:
                base = repository.store.tree(revision.state.config.base_tree)
                check_dtype(base, dtype)
                revision = replace(revision, rounded=True)
            moves = revision.is_commit and not keep_head
            if moves:
                repository.check_clean()
                repository.git.check_move(revision.state.commit, repository.folder)
            head = position(repository.git)
            yield cls(repository, revision, head, moves, crew, allow_nonfinite)

    @property
    def config(self) -> Config:
        """The configuration of the commit that the revision was found in."""
        return self.revision.state.config

    @property
    def builds(self) -> Builds:
        """The trees of this configuration."""
        allow = self.allow_nonfinite
        return Builds(self.repository, self.config, self.crew, allow_nonfinite=allow)

    def find(self) -> Built:
        """Tree and layout of the revision, computed only if they are not recorded.

        Raises as `Builds.build`.
        """
        formula = self.revision.formula
        built = self.builds.found_or_built(formula)
        self._prune()
        return built

    def build(self, into: Drafting | None = None) -> Built:
        """Tree and layout of the revision, whose blocks are stored; see `Builds.build`."""
        built = self.builds.build(self.revision.formula, into)
        self._prune()
        return built

    def _prune(self) -> None:
        prune(self.repository, limit_of(self.repository, self.config))

    def directory_write(
        self,
        path: Path,
        built: Built,
        identity: Identity | None,
        before: DirectoryRecord | None = None,
    ) -> DirectoryWrite:
        """The entry of the journal for a directory.

        Args:
            path: the directory.
            built: tree and layout that it will have.
            identity: device and inode that it has; None while it is not there.
            before: its record; None for a new one.
        """
        revision = self.revision
        known = before or self.repository.targets.find(path)
        after = DirectoryRecord(
            self.repository.home, path, identity, built.tree, built.layout,
            revision.label, revision.terms, {},
            first=known is None or (known.first and known.tree == built.tree),
        )  # fmt: skip
        base_path = self.repository.root / self.config.base_path
        return DirectoryWrite(after, before, self.config.base_tree, base_path)

    def begin(self, write: DirectoryWrite | None = None) -> JournalledCheckout:
        """Begin the journal; a context, at whose end HEAD moves.

        Args:
            write: the directory that is written in the block; None for none, or an engine.
        """
        commit = self.revision.state.commit
        after = (self.revision.branch or commit, commit) if self.moves else self.head
        home, root = self.repository.home, self.repository.root
        return JournalledCheckout(self, Journal(home, root, self.head, after, write))


class JournalledCheckout(Journalled):
    """The part of a checkout that is undone if it fails.

    Args:
        transaction: the checkout.
        journal: what it is about to do.
    """

    def __init__(self, transaction: CheckoutTransaction, journal: Journal) -> None:
        super().__init__(transaction.repository, journal)
        self._transaction = transaction

    def conclude(self) -> None:
        """HEAD moves; then the record of the directory is saved."""
        repository, revision = self._transaction.repository, self._transaction.revision
        if self._transaction.moves:
            name = revision.branch or revision.state.commit
            repository.git.move(name, detach=revision.branch is None)
        write = self.journal.writing
        if write is not None:
            repository.targets.save(write.after)
