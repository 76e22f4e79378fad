"""Facts that merge methods need of a whole tensor or model, found once and kept: trim thresholds.

<store>/trims/<digest of the combination>.json:
  trim     thresholds, majority and counts; `tensors`, where each tensor has thresholds of its own
  check    BLAKE3 of the digest and the trim

A cache: what is missing or damaged is found again, to the same numbers.
"""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pvc import parallel
from pvc.codec.numbers import is_real
from pvc.merge import ties_votes
from pvc.repo.build.taus import BlockPlace, Taus, TrimFacts
from pvc.repo.build.threshold_passes import ThresholdPasses
from pvc.repo.personality.formula import Link, Mix, Operand
from pvc.repo.trees.checked_file import CheckedFiles, with_check, without_check

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pvc.merge.ties_dialects import Trimming
    from pvc.parallel import Crew, Progress, Stop
    from pvc.repo.trees.blocks import Blocks
    from pvc_store.tree import Tensor, Tree

FIELD = "trim"

SAMPLED_BLOCKS = 64
"""So many blocks of a model are looked at first, at most, to guess the thresholds."""

SAMPLED_SHARE = 32
"""Of the blocks of a tensor that is trimmed by itself, one of so many."""


class MergeFacts:
    """The facts of combinations: read where they are kept, found where not.

    Args:
        folder: the store's.
        blocks: raw blocks of stored trees.
        tree: the tree of an id.
        crew: the threads, and the progress display.
    """

    def __init__(
        self, folder: Path, blocks: Blocks, tree: Callable[[bytes], Tree], crew: Crew
    ) -> None:
        self._files = CheckedFiles(folder / "trims", _dump, _load)
        self._blocks = blocks
        self._crew = crew
        self._known: dict[Mix, TrimFacts] = {}
        self.taus = Taus(blocks, tree, self._known)

    def add(self, operand: Operand) -> None:
        """Find the facts of every combination that a vector is made of, inner ones first.

        Raises:
            MissingError, DamageError: a block is missing or damaged.
        """
        if isinstance(operand, Link) or operand in self._known:
            return
        for part in operand.parts:
            self.add(part.operand)
        needed = operand.rule.facts
        if needed is not None:
            found = self._files.read(operand.digest())
            self._known[operand] = found or self._find(operand, needed)

    def get(self, mix: Mix) -> TrimFacts | None:
        """The facts of a combination that was added; None if its method needs none."""
        return self._known.get(mix)

    def _find(self, mix: Mix, needed: Trimming) -> TrimFacts:
        real = [tensor for tensor in self._blocks.base.values() if is_real(tensor.kind)]
        real.sort(key=lambda tensor: -tensor.nbytes)
        find = self._by_tensor if needed.dialect.per_tensor else self._whole
        found = find(mix, needed, real)
        self._files.write(mix.digest(), found)
        return found

    def _whole(self, mix: Mix, needed: Trimming, real: list[Tensor]) -> TrimFacts:
        """One threshold for each vector; all threads work on the blocks of the model."""
        passes = ThresholdPasses(mix.parts, needed, self.taus, real, SAMPLED_BLOCKS)
        return _fact(needed, real, passes.find(self._all_threads))

    def _all_threads(
        self, places: list[BlockPlace], see: Callable[[BlockPlace], None], label: str
    ) -> None:
        def one(place: BlockPlace, stop: Stop) -> None:
            stop.check()
            see(place)
            self._crew.progress.advance(place.nbytes)

        self._crew.progress.start(label, sum(place.nbytes for place in places))
        parallel.run(places, one, self._crew.threads)

    def _by_tensor(self, mix: Mix, needed: Trimming, real: list[Tensor]) -> TrimFacts:
        """Thresholds of their own for tensors that change; each is one thread's."""
        changed = [tensor for tensor in real if self.taus.changes(mix, tensor.name)]
        found: dict[str, tuple[float, ...]] = {}
        tallies: list[ties_votes.Tally] = []

        def one(tensor: Tensor, stop: Stop) -> None:
            sampled = tensor.block_count // SAMPLED_SHARE + 1
            passes = ThresholdPasses(mix.parts, needed, self.taus, [tensor], sampled)
            run = _OneThread(tensor, stop, self._crew.progress)
            found[tensor.name], tally = passes.find(run)
            tallies.append(tally)

        self._crew.progress.start("Trimming tensors", sum(tensor.nbytes for tensor in changed))
        parallel.run(changed, one, self._crew.threads)
        none = (0.0,) * len(mix.parts)
        tally = sum(tallies, start=ties_votes.Tally.none(len(mix.parts)))
        return _fact(needed, real, (none, tally), dict(sorted(found.items())))


def _dump(digest: bytes, trim: TrimFacts) -> str:
    found: dict[str, Any] = {
        "thresholds": [threshold.hex() for threshold in trim.thresholds],
        "majority": trim.majority,
        "elements": trim.elements,
        "kept": trim.kept,
        "outvoted": trim.outvoted,
        "conflicts": trim.conflicts,
    }
    if trim.tensors:
        found["tensors"] = {
            name: [threshold.hex() for threshold in own] for name, own in trim.tensors.items()
        }
    return json.dumps(with_check({FIELD: found}, digest, FIELD))


def _load(digest: bytes, data: bytes) -> TrimFacts:
    found = without_check(json.loads(data), digest, FIELD)[FIELD]
    return TrimFacts(
        thresholds=tuple(map(float.fromhex, found["thresholds"])),
        majority=found["majority"],
        elements=found["elements"],
        kept=tuple(found["kept"]),
        outvoted=tuple(found["outvoted"]),
        conflicts=tuple(map(tuple, found["conflicts"])),
        tensors={
            name: tuple(map(float.fromhex, own)) for name, own in found.get("tensors", {}).items()
        },
    )


def _fact(
    needed: Trimming,
    real: list[Tensor],
    found: tuple[tuple[float, ...], ties_votes.Tally],
    tensors: Mapping[str, tuple[float, ...]] = MappingProxyType({}),
) -> TrimFacts:
    thresholds, tally = found
    sign = needed.dialect.zero_sum
    return TrimFacts(
        thresholds=thresholds,
        majority=ties_votes.majority(tally.positive, tally.negative) if sign is None else sign,
        elements=sum(tensor.nbytes * 8 // tensor.kind.bits for tensor in real),
        kept=tuple(tally.kept.tolist()),
        outvoted=tuple(tally.outvoted.tolist()),
        conflicts=tuple(map(tuple, tally.conflicts.tolist())),
        tensors=tensors,
    )


class _OneThread:
    """Runs the passes over one tensor on the thread that it is given to."""

    def __init__(self, tensor: Tensor, stop: Stop, progress: Progress) -> None:
        self._left = tensor.nbytes  # not shown as done yet
        self._stop = stop
        self._progress = progress

    def __call__(
        self, places: list[BlockPlace], see: Callable[[BlockPlace], None], label: str
    ) -> None:
        for place in places:
            self._stop.check()
            see(place)
            done = min(place.nbytes, self._left)
            self._left -= done
            self._progress.advance(done)
