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
from pvc.merge.trim import Counts, Search
from pvc.repo import workers
from pvc.repo.formula import Link, Mix, Operand
from pvc.repo.route import links
from pvc.repo.target import MALFORMATIONS
from pvc.repo.taus import Place, Taus, Trim
from pvc_store import atomic
from pvc_store.ids import object_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pvc.repo.blocks import Blocks
    from pvc.repo.workers import Crew, Stop
    from pvc_store.tree import Tree

SAMPLED = 32
"""One block of so many is looked at first, to guess the thresholds."""


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
        thresholds = sweep.thresholds()
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

    def thresholds(self) -> tuple[float, ...]:
        """For each vector, the least magnitude that is kept."""
        guesses = self._guesses()
        searches = [Search(self.elements, self.mix.density, self.dtype, g) for g in guesses]
        while any(search.threshold is None for search in searches):
            self._pass(searches, "Looking for thresholds", 1)
        return tuple(search.estimate for search in searches)

    def _guesses(self) -> list[float | None]:
        sampled = sum(place.size for place in self._places(SAMPLED))
        if sum(1 for _ in self._places(SAMPLED)) < 2:
            return [None] * len(self.mix.parts)
        samples = [Search(sampled, self.mix.density, self.dtype) for _ in self.mix.parts]
        self._pass(samples, "Looking at a sample", SAMPLED)
        return [search.estimate for search in samples]

    def _places(self, step: int) -> Iterator[Place]:
        """Every `step`-th block."""
        number = 0
        for tensor in self._tensors:
            for index in range(tensor.block_count):
                if number % step == 0:
                    yield Place(tensor, index, self._dtypes[tensor.name])
                number += 1

    def _pass(self, searches: list[Search], label: str, step: int) -> None:
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

        self._run(see, label, step)
        for number, search in enumerate(wanted):
            search.learn([counts[number] for counts in made])

    def tally(self, thresholds: tuple[float, ...]) -> ties.Tally:
        """How the elements of the model are elected."""
        terms = ties.Terms(np.array([part.scale for part in self.mix.parts]), np.array(thresholds))
        k = len(self.mix.parts)
        none = ties.Tally(
            0, 0, 0, np.zeros(k, np.int64), np.zeros(k, np.int64), np.zeros((k, k), np.int64)
        )
        found: list[ties.Tally] = []

        def see(place: Place, stop: Stop) -> None:
            stop.check()
            taus = self.taus.stack(self.mix.parts, place, "sweep")
            if taus is not None:
                found.append(ties.tally(taus, terms))
            self.crew.progress.advance(place.tensor.block_length(place.index))

        self._run(see, "Electing signs", 1)
        return sum(found, start=none)

    def _run(self, see: Callable[[Place, Stop], None], label: str, step: int) -> None:
        places = list(self._places(step))
        total = sum(place.tensor.block_length(place.index) for place in places)
        self.crew.progress.start(label, total)
        workers.run(places, see, self.crew.threads)
