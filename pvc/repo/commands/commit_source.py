"""Sources of a commit: a checkpoint here, an engine in `pvc.live.commands.commit`."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pvc.errors import PvcError
from pvc.repo.trees.capture import capture
from pvc.weights.checkpoint import Checkpoint
from pvc.weights.compare import CheckpointDifference, first_differences, renamed
from pvc.weights.fitting import fitted
from pvc.weights.mismatch import Mismatch, mismatch

if TYPE_CHECKING:
    from pvc.parallel import Crew
    from pvc.repo.commands.commit_origin import TargetContent
    from pvc.repo.personality.personality_file import Term
    from pvc.repo.personality.vector import CapturedVector
    from pvc.repo.repository import Repository
    from pvc.repo.snapshot import Snapshot
    from pvc.repo.targets.directory_record import DirectoryRecord
    from pvc.repo.targets.engine_record import EngineRecord
    from pvc.repo.trees.blocks import Blocks
    from pvc.repo.trees.capture import CaptureOptions
    from pvc.repo.trees.statistics import Capture
    from pvc.weights.folder import LeftOut
    from pvc_store.store import StoreWriter
    from pvc_store.tree import Tree


class OtherBaseError(PvcError):
    """A checkpoint's tensors are not those of the base.

    Attributes:
        path: the checkpoint.
        differences: the first of them.
        renamed: a name in the base and what the checkpoint seems to call it, if that is all.
        mismatch: the cause, if it is a known one.
    """

    def __init__(
        self,
        path: Path,
        differences: tuple[CheckpointDifference, ...],
        renamed: tuple[str, str] | None,
        mismatch: Mismatch | None = None,
    ) -> None:
        self.path = path
        self.differences = differences
        self.renamed = renamed
        self.mismatch = mismatch
        listed = "; ".join(map(str, differences))
        why = f" It seems that {mismatch.phrase}." if mismatch else ""
        super().__init__(f"{path} is not a result of training this base: {listed}.{why}")


class CommitSource(Protocol):
    """Where a training result is."""

    def open(
        self, repository: Repository, head: Snapshot, crew: Crew, *, aside: bool
    ) -> OpenSource:
        """Open it, and make sure that it fits the base; the repository is locked.

        Args:
            repository: where it is to be committed.
            head: HEAD.
            crew: threads, and who is shown the progress.
            aside: whether the personality will stay as it is.
        """
        ...


class OpenSource(Protocol):
    """A training result, open to be read."""

    @property
    def where(self) -> str:
        """The directory or engine, for messages."""
        ...

    @property
    def provenance(self) -> str:
        """The same, for the vector's provenance."""
        ...

    @property
    def directory(self) -> Path | None:
        """The directory, if it is one."""
        ...

    @property
    def engine(self) -> str | None:
        """Name of the engine, if it is one."""
        ...

    @property
    def target(self) -> TargetContent | None:
        """What pvc last wrote there, if it is a target."""
        ...

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Files that do not belong to it."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What else is to be known about it, each a phrase."""
        ...

    def capture(
        self, blocks: Blocks, writing: StoreWriter, goal: CaptureOptions, crew: Crew
    ) -> Capture:
        """Read it into the store; arguments as of `trees.capture.capture`."""
        ...

    def completed(self, captured: Capture, origin: Tree) -> Capture:
        """What was captured, with those tensors from its origin that the source cannot have."""
        ...

    def records(
        self, vector: CapturedVector, name: str, terms: tuple[Term, ...] | None
    ) -> tuple[DirectoryRecord | EngineRecord, ...]:
        """Target records to save together with the commit.

        Args:
            vector: the vector that is committed.
            name: its name.
            terms: the terms that lead to it, or None where they are not known.
        """
        ...

    def confirm(self) -> bool:
        """Tell the engine what was committed, once the repository is unlocked.

        Returns:
            Whether it still holds just that; True for a checkpoint.
        """
        ...


@dataclass(frozen=True, slots=True)
class CheckpointSource:
    """A checkpoint that training left.

    Attributes:
        path: its directory.
    """

    path: Path

    def open(
        self, repository: Repository, head: Snapshot, crew: Crew, *, aside: bool
    ) -> OpenCheckpoint:
        """Open it; see `CommitSource.open`.

        Raises:
            CheckpointError: it cannot be read.
            OtherBaseError: its tensors are not those of the base.
        """
        base = repository.store.tree(head.config.base_tree)
        checkpoint = fitted(Checkpoint.open(self.path), base)
        _check_base(base, checkpoint)
        path = Path(os.path.realpath(self.path))
        target = repository.targets.find(path)
        if target is not None and not target.is_there():
            target = None
        return OpenCheckpoint(str(self.path), str(path), checkpoint, target)


@dataclass(frozen=True, slots=True)
class OpenCheckpoint:
    """A checkpoint, open to be read; attributes as of `OpenSource`."""

    where: str
    provenance: str
    checkpoint: Checkpoint
    target: DirectoryRecord | None
    engine: None = None

    @property
    def directory(self) -> Path:
        """The directory, without links."""
        return Path(self.provenance)

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Files of its directory that do not belong to it."""
        return self.checkpoint.left_out

    @property
    def notes(self) -> tuple[str, ...]:
        """What else is to be known about it."""
        return self.checkpoint.notes

    def capture(
        self, blocks: Blocks, writing: StoreWriter, goal: CaptureOptions, crew: Crew
    ) -> Capture:
        """Read it into the store."""
        return capture(self.checkpoint, blocks, writing, goal, crew)

    def completed(self, captured: Capture, _origin: Tree) -> Capture:
        """The same: a checkpoint has all of them."""
        return captured

    def records(
        self, vector: CapturedVector, name: str, terms: tuple[Term, ...] | None
    ) -> tuple[DirectoryRecord, ...]:
        """The record of a target, which holds what the vector leads to."""
        if self.target is None or self.checkpoint.is_refit:  # its files are not those of the layout
            return ()
        return (
            replace(
                self.target,
                tree=vector.to_tree,
                layout=vector.layout,
                revision=name,
                terms=terms,
                stamps=self.checkpoint.fingerprint,
                first=self.target.first and self.target.tree == vector.to_tree,
            ),
        )

    def confirm(self) -> bool:
        """True: a checkpoint keeps no state of its own."""
        return True


def _check_base(base: Tree, checkpoint: Checkpoint) -> None:
    """Make sure that a checkpoint has the tensors of the base; wider floats are allowed."""
    found = first_differences(base, checkpoint.tensors, allow_wider=True)
    if found:
        guess = renamed(base, checkpoint.tensors)
        cause = None if guess else mismatch(base, checkpoint.tensors)
        raise OtherBaseError(checkpoint.directory, found, guess, cause)
