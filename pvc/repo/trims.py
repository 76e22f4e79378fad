"""What a TIES combination needs to know of the whole model, found by passes over the taus.

<store>/trims/<digest of the combination>.json:
  trim     thresholds, majority, and what was counted
  check    BLAKE3 of the digest and the trim

A cache: what is missing or damaged is found again, to the same numbers.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pvc.codec.numbers import float_type, is_real
from pvc.merge import ties
from pvc.merge.trim import Counts, Guess, Search, guess_of, rank_of
from pvc.repo import workers
from pvc.repo.formula import Link, Mix, Operand
from pvc.repo.route import links
from pvc.repo.target import MALFORMATIONS
from pvc.repo.taus import Place, Taus, Trim
from pvc_store import atomic
from pvc_store.ids import object_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pvc.codec.numbers import Floats
    from pvc.repo.blocks import Blocks
    from pvc.repo.workers import Crew, Stop
    from pvc_store.tree import Tree

SAMPLED_BLOCKS = 64
"""So many blocks are looked at first, at most, to guess the thresholds."""

SAMPLED_ELEMENTS = 16
"""One element of so many of them."""


class Trims:
    """The trims of combinations: read where they are kept, found where not.

    Args:
        folder: the store's.
        blocks: raw blocks of stored trees.
        tree: the tree of an id.
        crew: who does the work.
    """

    def __init__(
        self, folder: Path, blocks: Blocks, tree: Callable[[bytes], Tree], crew: Crew
    ) -> None:
        self._folder = folder / "trims"
        self._blocks = blocks
        self._crew = crew
        self._known: dict[Mix, Trim] = {}
        self.taus = Taus(blocks, tree, self._known)

    def add(self, operand: Operand) -> None:
        """Find the trims of every TIES combination that a vector is made of, inner ones first.

        Raises:
            MissingError, DamageError: a block cannot be had.
        """
        if isinstance(operand, Link) or operand in self._known:
            return
        for part in operand.parts:
            self.add(part.operand)
        if operand.method == "ties":
            self._known[operand] = self._read(operand) or self._find(operand)

    def trim(self, mix: Mix) -> Trim:
        """The trim of a combination that was added."""
        return self._known[mix]

    def _find(self, mix: Mix) -> Trim:
        sweep = _Sweep(mix, self.taus, self._blocks.base, self._crew)
        guesses = sweep.guesses()
        thresholds = tuple(guess.magnitude for guess in guesses)
        tally = sweep.tally(thresholds) if all(guess.tied for guess in guesses) else None
        if tally is None or not sweep.is_right(tally):
            thresholds = sweep.thresholds(thresholds)
            tally = sweep.tally(thresholds)
        trim = Trim(
            thresholds=thresholds,
            majority=ties.majority(tally.positive, tally.negative),
            elements=sweep.elements,
            kept=tuple(tally.kept.tolist()),
            outvoted=tuple(tally.outvoted.tolist()),
            conflicts=tuple(map(tuple, tally.conflicts.tolist())),
        )
        self._write(mix, trim)
        return trim

    def _read(self, mix: Mix) -> Trim | None:
        digest = mix.digest()
        try:
            document = json.loads(self._file(digest).read_bytes())
            found = document["trim"]
            if document["check"] != _check(digest, found):
                return None
            return Trim(
                thresholds=tuple(map(float.fromhex, found["thresholds"])),
                majority=found["majority"],
                elements=found["elements"],
                kept=tuple(found["kept"]),
                outvoted=tuple(found["outvoted"]),
                conflicts=tuple(map(tuple, found["conflicts"])),
            )
        except (OSError, *MALFORMATIONS):
            return None

    def _write(self, mix: Mix, trim: Trim) -> None:
        digest = mix.digest()
        found = {
            "thresholds": [threshold.hex() for threshold in trim.thresholds],
            "majority": trim.majority,
            "elements": trim.elements,
            "kept": trim.kept,
            "outvoted": trim.outvoted,
            "conflicts": trim.conflicts,
        }
        atomic.make_directory(self._folder)
        document = {"trim": found, "check": _check(digest, found)}
        atomic.write_file(self._file(digest), json.dumps(document).encode())

    def _file(self, digest: bytes) -> Path:
        return self._folder / f"{digest.hex()}.json"


def _check(digest: bytes, found: dict[str, Any]) -> str:
    return object_id(digest + json.dumps(found, sort_keys=True).encode()).hex()


@dataclass
class _Local(threading.local):
    """What one thread counts with during one pass."""

    counts: list[Counts] | None = None


@dataclass
class _Sweep:
    """Passes over the taus of one combination."""

    mix: Mix
    taus: Taus
    base: Tree
    crew: Crew
    elements: int = field(init=False)
    dtype: np.dtype[np.floating[Any]] = field(init=False)

    def __post_init__(self) -> None:
        real = [tensor for tensor in self.base.values() if is_real(tensor.kind)]
        self._tensors = sorted(real, key=lambda tensor: -tensor.nbytes)
        self._dtypes = {tensor.name: self._dtype(tensor.name) for tensor in real}
        self.elements = sum(tensor.nbytes * 8 // tensor.kind.bits for tensor in real)
        self.dtype = max(self._dtypes.values(), key=lambda d: d.itemsize, default=float_type())

    def _dtype(self, name: str) -> np.dtype[np.floating[Any]]:
        trees = [tree for link in links(self.mix) for tree in (link.origin, link.result)]
        return float_type(self.base[name].kind, *(self.taus.kind(tree, name) for tree in trees))

    def guesses(self) -> list[Guess]:
        """What a sample of the model says of each threshold.

        bfloat16 weights move in few, coarse steps: so many elements of a vector are as large as its
        threshold that a sample mostly finds it to the last bit, and counting while the signs are
        elected proves it.
        """
        found: list[Floats] = []

        def see(place: Place, stop: Stop) -> None:
            stop.check()
            taus = self.taus.stack(self.mix.parts, place, "sweep")
            rows = self._zeros(place) if taus is None else taus
            found.append(np.abs(rows[:, ::SAMPLED_ELEMENTS]).astype(self.dtype))

        places = self._places()
        if not places:
            return [Guess(0.0, tied=True)] * len(self.mix.parts)
        self._run(places[:: len(places) // SAMPLED_BLOCKS + 1], see, "Looking at a sample")
        sample = np.concatenate(found, axis=1)
        return [guess_of(row, self.mix.density) for row in sample]

    def is_right(self, tally: ties.Tally) -> bool:
        """Whether the thresholds of a tally are those of the model."""
        rank = rank_of(self.elements, self.mix.density)
        found = (tally.below < rank) & (rank <= tally.below + tally.tied)
        return rank == 0 or bool(np.all(found))

    def thresholds(self, guesses: tuple[float, ...]) -> tuple[float, ...]:
        """For each vector, the least magnitude that is kept."""
        searches = [Search(self.elements, self.mix.density, self.dtype, g) for g in guesses]
        while any(search.threshold is None for search in searches):
            self._pass(searches)
        return tuple(search.estimate for search in searches)

    def _places(self) -> list[Place]:
        """Every block of every tensor of floats."""
        return [
            Place(tensor, index, self._dtypes[tensor.name])
            for tensor in self._tensors
            for index in range(tensor.block_count)
        ]

    def _pass(self, searches: list[Search]) -> None:
        wanted = [search for search in searches if search.threshold is None]
        made: list[list[Counts]] = []
        local, lock = _Local(), threading.Lock()

        def see(place: Place, stop: Stop) -> None:
            stop.check()
            if local.counts is None:
                local.counts = [search.counts() for search in wanted]
                with lock:
                    made.append(local.counts)
            taus = self.taus.stack(self.mix.parts, place, "sweep")
            chosen = (i for i, search in enumerate(searches) if search in wanted)
            for row, counts in zip(chosen, local.counts, strict=True):
                if taus is None:
                    counts.add_zeros(place.size)
                else:
                    counts.count(taus[row])
            self.crew.progress.advance(place.tensor.block_length(place.index))

        self._run(self._places(), see, "Looking for thresholds")
        for number, search in enumerate(wanted):
            search.learn([counts[number] for counts in made])

    def tally(self, thresholds: tuple[float, ...]) -> ties.Tally:
        """How the elements of the model are elected."""
        terms = ties.Terms(np.array([part.scale for part in self.mix.parts]), np.array(thresholds))
        found: list[ties.Tally] = []

        def see(place: Place, stop: Stop) -> None:
            stop.check()
            taus = self.taus.stack(self.mix.parts, place, "sweep")
            rows = self._zeros(place) if taus is None else taus
            found.append(ties.tally(rows, terms))
            self.crew.progress.advance(place.tensor.block_length(place.index))

        self._run(self._places(), see, "Electing signs")
        return sum(found, start=ties.Tally.none(len(self.mix.parts)))

    def _zeros(self, place: Place) -> Floats:
        return np.zeros((len(self.mix.parts), place.size), place.dtype)

    def _run(self, places: list[Place], see: Callable[[Place, Stop], None], label: str) -> None:
        total = sum(place.tensor.block_length(place.index) for place in places)
        self.crew.progress.start(label, total)
        workers.run(places, see, self.crew.threads)
