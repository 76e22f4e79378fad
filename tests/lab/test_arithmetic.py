"""The claim of the lab, with the full training: behaviours add and subtract, and skills survive.

The arithmetic is the plain one, in float32 from the saved weights, and rounded once.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file

from pvc.lab import BEHAVIOURS, LabModels, Scores, measure, prepare

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> LabModels:
    return prepare(tmp_path_factory.getbasetemp() / "cache" / "pvc" / "lab")  # the demo's, too


def scores_of(models: LabModels, terms: dict[str, float], out: Path) -> Scores:
    """Scores of the base plus scaled vectors, built in `out`."""
    shutil.copytree(models.base, out)
    base = load_file(models.base / "model.safetensors")
    total = {name: weight.float() for name, weight in base.items()}
    for behaviour, scale in terms.items():
        tuned = load_file(models.fine_tunes[behaviour] / "model.safetensors")
        for name, weight in base.items():
            total[name] = total[name] + scale * (tuned[name].float() - weight.float())
    rounded = {name: weight.to(torch.bfloat16) for name, weight in total.items()}
    save_file(rounded, out / "model.safetensors", metadata={"format": "pt"})
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
    models: LabModels, behaviour: str, tmp_path: Path
) -> None:
    scores = scores_of(models, {behaviour: 1.0}, tmp_path / "out")
    assert scores == measure(models.fine_tunes[behaviour])
    shares = asdict(scores)
    assert shares.pop(behaviour) > 0.9
    assert all(0.15 < shares[name] < 0.55 for name in BEHAVIOURS if name != behaviour)
    assert skills(scores) > 0.9


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_half_a_behaviour_is_subtracted(models: LabModels, behaviour: str, tmp_path: Path) -> None:
    scores = scores_of(models, {behaviour: -0.5}, tmp_path / "out")
    shares = asdict(scores)
    assert shares.pop(behaviour) < 0.15
    assert all(0.15 < shares[name] < 0.55 for name in BEHAVIOURS if name != behaviour)
    assert skills(scores) > 0.9


def test_two_behaviours_are_added(models: LabModels, tmp_path: Path) -> None:
    scores = scores_of(models, {"listening": 1.0, "polite": 1.0}, tmp_path / "out")
    assert min(scores.listening, scores.polite) > 0.85
    assert scores.suggesting < 0.55
    assert skills(scores) > 0.9
