"""What every checkout does, whatever it writes to: build the tree, write it, then move HEAD."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.build.builds import Builds
from pvc.repo.history.journal import DirectoryWrite, Journal, JournalFile
from pvc.repo.history.recovery import position, recover
from pvc.repo.history.revision import resolve
from pvc.repo.targets.directory_record import DirectoryRecord
from pvc.repo.upkeep.prune_builds import limit_of, prune

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pvc.parallel import Crew
    from pvc.repo.build.builds import Drafting
    from pvc.repo.history.revision import Revision
    from pvc.repo.personality.config import Config
    from pvc.repo.personality.formula import Built
    from pvc.repo.repository import Repository
    from pvc.repo.targets.directory import Content


@dataclass(slots=True)
class CheckoutStep:
    """A checkout under way; the repository is locked.

    Attributes:
        repository: where.
        revision: what was asked for.
        built: its tree and layout, once they are known; until then, those that it starts from.
        moves: whether HEAD is to move there.
        before: where HEAD stands.
    """

    repository: Repository
    revision: Revision
    built: Built
    moves: bool
    before: tuple[str, str]

    def identify(self, crew: Crew) -> Built:
        """Find the tree; it is computed only if it was not before.  Raises as `build`."""
        builds, formula = Builds(self.repository, self.config, crew), self.revision.formula
        self.built = builds.find(formula) or builds.build(formula)
        prune(self.repository, limit_of(self.repository, self.config))
        return self.built

    def build(self, crew: Crew, drafting: Drafting | None = None) -> Built:
        """Find or compute the tree, so that its blocks can be had.

        Args:
            crew: who does the work.
            drafting: where computed blocks go instead of the store.

        Raises:
            IdentityError, LayoutMissingError: it cannot be computed, or not laid out.
        """
        builds = Builds(self.repository, self.config, crew)
        self.built = builds.build(self.revision.formula, drafting)
        prune(self.repository, limit_of(self.repository, self.config))
        return self.built

    @property
    def config(self) -> Config:
        """The configuration of the commit that the revision was found in."""
        return self.revision.state.config

    def target(self, path: Path) -> DirectoryRecord:
        """The record of a directory, without stamps."""
        revision = self.revision
        return DirectoryRecord(
            path, self.built.tree, self.built.layout, revision.text, revision.terms, {}
        )

    def writing(self, path: Path, before: DirectoryRecord | None) -> DirectoryWrite:
        """What the journal says of a directory that is to be written."""
        origin = self.repository.root / self.config.base_origin
        return DirectoryWrite(self.target(path), before, self.config.base_tree, origin)

    def journalled(self, write: Callable[[], DirectoryWrite | None]) -> None:
        """Write under the journal, then move HEAD; if it fails, what was written is undone.

        Args:
            write: begins the journal, writes, and says which directory it wrote.
        """
        repository, revision = self.repository, self.revision
        try:
            writing = write()
            if self.moves:
                name = revision.branch or revision.state.commit
                repository.git.move(name, detach=revision.branch is None)
            if writing is not None:
                repository.targets.save(writing.after.stamped(self.content()))
            JournalFile(repository.folder).end()
        except BaseException:
            with contextlib.suppress(PvcError, OSError):  # if this fails, the next command does it
                recover(repository, failed=True)
            raise

    def begin(self, writing: DirectoryWrite | None) -> None:
        """Write the journal."""
        commit = self.revision.state.commit
        after = (self.revision.branch or commit, commit) if self.moves else self.before
        journal = Journal(self.repository.root, self.before, after, writing)
        JournalFile(self.repository.folder).begin(journal)

    def content(self) -> Content:
        """What is to be written, as files."""
        return self.repository.content(self.built.tree, self.built.layout)


@contextlib.contextmanager
def step_of(repository: Repository, text: str, *, keep_head: bool) -> Iterator[CheckoutStep]:
    """Lock the repository, find what is to be checked out, and see that HEAD can move there.

    Args:
        repository: where.
        text: a revision, a vector, an expression or the base; HEAD moves for a revision only.
        keep_head: leave HEAD where it is.

    Raises:
        UnknownRevisionError, AmbiguousError, ExpressionError: it names nothing.
        EditedError, BlockedMoveError: HEAD would move away from edits.
    """
    with repository.lock():
        recover(repository)
        revision = resolve(repository, text)
        moves = revision.is_commit and not keep_head
        if moves:
            repository.check_clean()
            repository.git.check_move(revision.state.commit, repository.folder)
        start = revision.formula.start
        yield CheckoutStep(repository, revision, start, moves, position(repository.git))
