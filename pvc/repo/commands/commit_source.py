"""Training results that can be committed: a checkpoint here, an engine in `pvc.live`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pvc.errors import PvcError
from pvc.repo.targets.directory_record import DirectoryRecord
from pvc.repo.trees.capture import capture
from pvc.weights.checkpoint import Checkpoint
from pvc.weights.compare import CheckpointDifference, first_differences, renamed

if TYPE_CHECKING:
    from collections.abc import Callable

    from pvc.parallel import Crew
    from pvc.repo.commands.commit_origin import TargetContent
    from pvc.repo.personality.personality_file import Term
    from pvc.repo.personality.vector import CapturedVector
    from pvc.repo.repository import Repository
    from pvc.repo.snapshot import Snapshot
    from pvc.repo.targets.engine_record import EngineRecord
    from pvc.repo.trees.blocks import Blocks
    from pvc.repo.trees.capture import CaptureOptions
    from pvc.repo.trees.statistics import Capture
    from pvc.weights.folder import LeftOut
    from pvc_store.store import StoreWriter
    from pvc_store.tree import Tree

    Opener = Callable[[Repository, Snapshot, Crew], "CommitSource"]
    """Opens a result that is to be committed, and makes sure that it fits what HEAD says."""


class OtherBaseError(PvcError):
    """A checkpoint's tensors are not those of the base.

    Attributes:
        path: the checkpoint.
        differences: the first of them.
        renamed: a name in the base and what the checkpoint seems to call it, if that is all.
    """

    def __init__(
        self,
        path: Path,
        differences: tuple[CheckpointDifference, ...],
        renamed: tuple[str, str] | None,
    ) -> None:
        self.path = path
        self.differences = differences
        self.renamed = renamed
        listed = "; ".join(map(str, differences))
        super().__init__(f"{path} is not a result of training this base: {listed}.")


class CommitSource(Protocol):
    """A training result, open to be read."""

    @property
    def where(self) -> str:
        """Where it lies, in words."""
        ...

    @property
    def held(self) -> TargetContent | None:
        """What pvc wrote there last, if it did."""
        ...

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Files that do not belong to it."""
        ...

    def capture(
        self, blocks: Blocks, writing: StoreWriter, goal: CaptureOptions, crew: Crew
    ) -> Capture:
        """Read it into the store."""
        ...

    def adopted(
        self, vector: CapturedVector, name: str, terms: tuple[Term, ...] | None
    ) -> tuple[DirectoryRecord | EngineRecord, ...]:
        """What is known to lie there once it is committed.

        Args:
            vector: what was committed.
            name: its name.
            terms: the terms that lead to it, or None where they are not known.
        """
        ...


class CheckpointSource:
    """A checkpoint that training left.

    Args:
        repository: where it is to be committed.
        source: its directory.
        base: what it was trained from, at first.

    Raises:
        CheckpointError: it cannot be read.
        OtherBaseError: its tensors are not those of the base.
    """

    def __init__(self, repository: Repository, source: Path, base: Tree) -> None:
        self._checkpoint = Checkpoint.open(source)
        _check_base(base, self._checkpoint)
        self._source = source
        self._target = repository.targets.find(Path(os.path.realpath(source)))

    @property
    def where(self) -> str:
        """See `Result.where`."""
        return str(self._source)

    @property
    def held(self) -> DirectoryRecord | None:
        """See `Result.held`."""
        return self._target

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """See `Result.left_out`."""
        return self._checkpoint.left_out

    def capture(
        self, blocks: Blocks, writing: StoreWriter, goal: CaptureOptions, crew: Crew
    ) -> Capture:
        """See `Result.capture`."""
        return capture(self._checkpoint, blocks, writing, goal, crew)

    def adopted(
        self, vector: CapturedVector, name: str, terms: tuple[Term, ...] | None
    ) -> tuple[DirectoryRecord, ...]:
        """A target that was committed holds what the vector leads to."""
        if self._target is None:
            return ()
        stamps = self._checkpoint.fingerprint
        return (
            DirectoryRecord(self._target.path, vector.to_tree, vector.layout, name, terms, stamps),
        )


def _check_base(base: Tree, checkpoint: Checkpoint) -> None:
    """Make sure that a checkpoint has the tensors of the base; wider floats are allowed."""
    found = first_differences(base, checkpoint.tensors, allow_wider=True)
    if found:
        guess = renamed(base, checkpoint.tensors)
        raise OtherBaseError(checkpoint.directory, found, guess)
