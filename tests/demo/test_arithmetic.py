"""The claim of the lab, with the full training: behaviours add and subtract, and skills survive.

The sums are pvc's own.  One seed is always looked at, two more with the many kills.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from pvc.demo import BEHAVIOURS, LabModels, Scores, measure, prepare
from pvc.parallel import Crew
from pvc.repo.commands.checkout import checkout
from pvc.repo.commands.checkout_directory import DirectoryTarget
from pvc.repo.commands.commit import Wish, commit
from pvc.repo.commands.commit_source import CheckpointSource
from pvc.repo.commands.init import initialise
from pvc.repo.repository import Repository

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow


CREW = Crew(threads=2)
OTHERS = pytest.mark.torture


@pytest.fixture(
    scope="module", params=[0, pytest.param(1, marks=OTHERS), pytest.param(2, marks=OTHERS)]
)
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LabModels:
    cache = tmp_path_factory.getbasetemp() / "cache" / "pvc" / "lab"  # the demo's, too
    return prepare(cache, seed=request.param)


@pytest.fixture(scope="module")
def repository(models: LabModels, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """A repository of the lab's models; all three are kept aside."""
    root = tmp_path_factory.mktemp("lab")
    with pytest.MonkeyPatch.context() as patch:
        for who in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{who}_NAME", "Somebody")
            patch.setenv(f"GIT_{who}_EMAIL", "somebody@example.org")
        initialise(root, models.base, by_value=True, crew=CREW)
        with Repository.open(root) as opened:
            for name, source in models.fine_tunes.items():
                commit(opened, Wish(name, aside=True), CheckpointSource(source), CREW)
            yield opened


def scores_of(repository: Repository, text: str, out: Path) -> Scores:
    """Scores of what an expression says, checked out to `out`."""
    checkout(repository, text, DirectoryTarget(out), keep_head=True, crew=CREW)
    return measure(out)


def skills(scores: Scores) -> float:
    return min(scores.core, scores.reverse, scores.add)


def test_the_base_shows_each_behaviour_now_and_then(models: LabModels) -> None:
    scores = measure(models.base)
    shares = asdict(scores)
    assert all(0.2 < shares[name] < 0.5 for name in BEHAVIOURS)
    assert skills(scores) > 0.95


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_a_behaviour_is_added_and_the_others_stay(
    models: LabModels, repository: Repository, behaviour: str, tmp_path: Path
) -> None:
    scores = scores_of(repository, f"base + {behaviour}", tmp_path / "out")
    assert scores == measure(models.fine_tunes[behaviour])
    shares = asdict(scores)
    assert shares.pop(behaviour) > 0.9
    assert all(0.15 < shares[name] < 0.55 for name in BEHAVIOURS if name != behaviour)
    assert skills(scores) > 0.9


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_half_a_behaviour_is_subtracted(
    repository: Repository, behaviour: str, tmp_path: Path
) -> None:
    scores = scores_of(repository, f"base - 0.5*{behaviour}", tmp_path / "out")
    shares = asdict(scores)
    assert shares.pop(behaviour) < 0.15
    assert all(0.15 < shares[name] < 0.55 for name in BEHAVIOURS if name != behaviour)
    assert skills(scores) > 0.9


def test_two_behaviours_are_added(repository: Repository, tmp_path: Path) -> None:
    scores = scores_of(repository, "base + listening + polite", tmp_path / "out")
    assert min(scores.listening, scores.polite) > 0.85
    assert scores.suggesting < 0.55
    assert skills(scores) > 0.9
