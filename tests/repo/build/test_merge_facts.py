"""Thresholds: guessed from a sample, proved or found anew, and kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from pvc.parallel import Crew
from pvc.repo.build.threshold_passes import SAMPLED_ELEMENTS
from pvc.repo.commands.combine import Combination, combine
from pvc.repo.commands.commit import Wish, commit
from pvc.repo.commands.commit_source import CheckpointSource
from pvc.repo.commands.init import initialise
from pvc.repo.repository import Repository
from tests.support import models
from tests.support.merging import trimmed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

CREW = Crew(threads=2)
SIZE = 300_000
SEEN = np.arange(SIZE) % SAMPLED_ELEMENTS == 0
RAMP = np.arange(1, SIZE + 1) / SIZE

TAUS = {
    "coarse": np.where(RAMP < 0.5, 0.5, 1.0),  # the sample finds the threshold to the last bit
    "fine": np.roll(RAMP, 7),  # no magnitude twice
    "misleading": np.where(SEEN, 0.25, RAMP),  # the sample is sure, and wrong
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    folder = tmp_path_factory.mktemp("trims")
    base = {"steps": models.tensor(np.arange(3), "I64"), "w": models.tensor(np.zeros(SIZE), "F32")}
    (folder / "work").mkdir()
    initialise(folder / "work", models.save(folder / "base", base), by_value=True, crew=CREW)
    with Repository.open(folder / "work") as opened:
        for name, tau in TAUS.items():
            after = {**base, "w": models.tensor(tau * 2.0**-9, "F32")}
            source = models.save(folder / name, after)
            commit(opened, Wish(name, aside=True), CheckpointSource(source), CREW)
        yield opened


def threshold(tau: NDArray[np.float64], density: float) -> float:
    sizes = np.sort((tau * 2.0**-9).astype(np.float32))
    return float(sizes[SIZE - int(SIZE * density) - 1]) if density < 1 else 0.0


@pytest.mark.parametrize("density", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("names", [("coarse",), ("coarse", "fine"), ("misleading", "coarse")])
def test_thresholds_are_exact_whatever_the_sample_says(
    repository: Repository, names: tuple[str, ...], density: float
) -> None:
    new = "_".join((*names, str(int(density * 10))))
    found = combine(repository, Combination(names, "ties", trimmed(density), new), CREW).trim
    assert found is not None
    assert found.thresholds == tuple(threshold(TAUS[name], density) for name in names)
    sizes = [(TAUS[name] * 2.0**-9).astype(np.float32) for name in names]
    kept = zip(sizes, found.thresholds, strict=True)
    assert found.kept == tuple(np.count_nonzero(tau >= cut) for tau, cut in kept)
    assert found.elements == SIZE
