"""Passes over the taus of one combination, to find thresholds and count votes.

They have a scope: the tensors that are trimmed as one, be they those of the whole model or one
alone.  What runs them decides how many threads there are.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pvc.codec.numbers import Floats, float_type
from pvc.merge import ties_votes
from pvc.merge.threshold import MARGIN, Counts, Guess, Search, guess_of
from pvc.merge.ties import Terms
from pvc.repo.build.taus import BlockPlace, Taus
from pvc.repo.personality.formula import links

if TYPE_CHECKING:
    from collections.abc import Callable

    from pvc.merge.ties_dialects import Trimming
    from pvc.repo.personality.formula import FormulaPart
    from pvc_store.tree import Tensor

SAMPLED_ELEMENTS = 16
"""Of a sampled block, one element of so many is looked at."""


class Pass(Protocol):
    """Goes through blocks, on one thread or several."""

    def __call__(
        self, places: list[BlockPlace], see: Callable[[BlockPlace], None], label: str
    ) -> None:
        """Call `see` for each block once; the label is for people."""
        ...


@dataclass
class _Local(threading.local):
    """What one thread counts with during one pass."""

    counts: list[Counts] | None = None


class ThresholdPasses:
    """Finds what is kept of each vector in a scope.

    Args:
        parts: the vectors, with their scales.
        needed: how much is kept of each, and what is elected.
        taus: the taus of the vectors.
        scope: tensors of real floats, as the base has them.
        sampled: so many blocks are looked at first, at most, to guess the thresholds.
    """

    def __init__(
        self,
        parts: tuple[FormulaPart, ...],
        needed: Trimming,
        taus: Taus,
        scope: list[Tensor],
        sampled: int,
    ) -> None:
        self._parts = parts
        self._needed = needed
        self._scales = np.array([part.scale for part in parts])
        self._taus = taus
        captured = [link for part in parts for link in links(part.operand)]
        trees = {tree for link in captured for tree in (link.from_tree, link.to_tree)}
        dtypes = [
            float_type(tensor.kind, *(taus.kind(tree, tensor.name) for tree in trees))
            for tensor in scope
        ]
        self._dtype = max(dtypes, key=lambda dtype: dtype.itemsize, default=float_type())
        self._places = [
            BlockPlace(tensor, index, dtype)
            for tensor, dtype in zip(scope, dtypes, strict=True)
            for index in range(tensor.block_count)
        ]
        self._sampled = self._places[:: len(self._places) // sampled + 1]
        self.elements = sum(place.size for place in self._places)
        changes = (any(taus.changes(part.operand, t.name) for t in scope) for part in parts)
        whole_rank = needed.rank(self.elements)
        self._ranks = [whole_rank if changed else 0 for changed in changes]

    def find(self, run: Pass) -> tuple[tuple[float, ...], ties_votes.Tally]:
        """The least magnitude that is kept of each vector, and how the elements are elected.

        bfloat16 weights move in few, coarse steps: so many elements of a vector are as large as its
        threshold that a sample mostly finds it to the last bit, and counting while the signs are
        elected proves it.

        Raises:
            MissingError, DamageError: a block is missing or damaged.
        """
        guesses = self._guesses(run)
        thresholds = tuple(guess.magnitude for guess in guesses)
        tally = self._tally(thresholds, run) if all(guess.tied for guess in guesses) else None
        if tally is None or not self._is_right(tally):
            thresholds = self._thresholds(thresholds, run)
            tally = self._tally(thresholds, run)
        return thresholds, tally

    def _guesses(self, run: Pass) -> list[Guess]:
        """What a sample says of each threshold; it is all there is, where that is one block."""
        whole = len(self._places) == 1
        step, margin = (1, 0.0) if whole else (SAMPLED_ELEMENTS, MARGIN)
        found: list[Floats] = []

        def see(place: BlockPlace) -> None:
            found.append(np.abs(self._stack(place)[:, ::step]).astype(self._dtype))

        if not self._places:
            return [Guess(0.0, tied=True)] * len(self._parts)
        run(self._sampled, see, "Looking at a sample")
        sample = np.concatenate(found, axis=1)
        sample_rank = self._needed.rank(sample.shape[1])
        ranks = [sample_rank if rank else 0 for rank in self._ranks]
        return [guess_of(row, at, margin) for row, at in zip(sample, ranks, strict=True)]

    def _is_right(self, tally: ties_votes.Tally) -> bool:
        """Whether the thresholds of a tally are those of the scope."""
        ranks = np.array(self._ranks)
        found = (tally.below < ranks) & (ranks <= tally.below + tally.tied)
        return bool(np.all(found | (ranks == 0) | (ranks > self.elements)))

    def _thresholds(self, guesses: tuple[float, ...], run: Pass) -> tuple[float, ...]:
        searches = [
            Search(self.elements, rank, self._dtype, guess)
            for rank, guess in zip(self._ranks, guesses, strict=True)
        ]
        while any(search.threshold is None for search in searches):
            self._search(searches, run)
        return tuple(search.estimate for search in searches)

    def _search(self, searches: list[Search], run: Pass) -> None:
        """One pass of the searches that are not at their end."""
        chosen = [row for row, search in enumerate(searches) if search.threshold is None]
        made: list[list[Counts]] = []
        local, lock = _Local(), threading.Lock()

        def see(place: BlockPlace) -> None:
            if local.counts is None:
                local.counts = [searches[row].counts() for row in chosen]
                with lock:
                    made.append(local.counts)
            taus = self._taus.stack(self._parts, place, "passes")
            for row, counts in zip(chosen, local.counts, strict=True):
                if taus is None:
                    counts.add_zeros(place.size)
                else:
                    counts.count(taus[row])

        run(self._places, see, "Looking for thresholds")
        for number, row in enumerate(chosen):
            searches[row].learn([counts[number] for counts in made])

    def _tally(self, thresholds: tuple[float, ...], run: Pass) -> ties_votes.Tally:
        terms = Terms(self._scales, np.array(thresholds), self._needed.dialect)
        found: list[ties_votes.Tally] = []

        def see(place: BlockPlace) -> None:
            found.append(ties_votes.tally(self._stack(place), terms))

        run(self._places, see, "Electing signs")
        return sum(found, start=ties_votes.Tally.none(len(self._parts)))

    def _stack(self, place: BlockPlace) -> Floats:
        """The taus of all vectors at a place, one in each row."""
        taus = self._taus.stack(self._parts, place, "passes")
        return np.zeros((len(self._parts), place.size), place.dtype) if taus is None else taus
