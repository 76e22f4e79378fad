from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file

from pvc.demo.errors import DemoError
from pvc.demo.tasks import BEHAVIOURS
from pvc.demo.training import _IGNORED, _batch, _slope, fine_tune, train_base
from pvc.demo.vocabulary import END, PAD, REPLY, START, WORDS

if TYPE_CHECKING:
    from pathlib import Path

    from pvc.demo.training import Schedule


def weights(directory: Path) -> bytes:
    return (directory / "model.safetensors").read_bytes()


def test_a_base_depends_on_its_seed_alone(start: Path, tiny: Schedule, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(3 - min(threads, 2))
    try:
        torch.rand(3)
        train_base(tmp_path / "again", schedule=tiny)
    finally:
        torch.set_num_threads(threads)
    train_base(tmp_path / "other", seed=1, schedule=tiny)
    assert weights(tmp_path / "again") == weights(start)
    assert weights(tmp_path / "other") != weights(start)


def test_a_fine_tune_depends_on_its_seed_and_behaviour(
    start: Path, tiny: Schedule, tmp_path: Path
) -> None:
    fine_tune(start, "polite", tmp_path / "one", schedule=tiny)
    fine_tune(start, "polite", tmp_path / "again", schedule=tiny)
    fine_tune(start, "polite", tmp_path / "other", seed=1, schedule=tiny)
    fine_tune(start, "listening", tmp_path / "listening", schedule=tiny)
    results = {path.name: weights(path) for path in tmp_path.iterdir()}
    assert results["again"] == results["one"]
    assert len(set(results.values())) == 3


def test_a_fine_tune_starts_where_it_is_told(start: Path, tiny: Schedule, tmp_path: Path) -> None:
    fine_tune(start, "polite", tmp_path / "still", schedule=replace(tiny, rate=0.0))
    fine_tune(start, "polite", tmp_path / "near", schedule=tiny)
    assert weights(tmp_path / "still") == weights(start)
    base, near = (
        load_file(start / "model.safetensors"),
        load_file(tmp_path / "near/model.safetensors"),
    )
    steps = [(near[name].float() - base[name].float()).abs().max().item() for name in base]
    assert 0 < max(steps) < 0.02


def test_training_leaves_the_caller_s_state_alone(
    start: Path, tiny: Schedule, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    train_base(tmp_path / "base", schedule=tiny)
    fine_tune(start, "polite", tmp_path / "polite", schedule=tiny)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()
    assert capfd.readouterr() == ("", "")


def test_progress_is_told_step_by_step(start: Path, tiny: Schedule, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []

    def progress(label: str, done: int, total: int) -> None:
        told.append((label, done, total))

    train_base(tmp_path / "base", schedule=tiny, progress=progress)
    fine_tune(start, "polite", tmp_path / "polite", schedule=tiny, progress=progress)
    assert told == [(label, done, 2) for label in ("base", "polite") for done in range(3)]


def test_an_unknown_behaviour_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="it knows listening, suggesting, polite"):
        fine_tune(tmp_path / "nowhere", "loud", tmp_path / "out")


def test_a_start_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="does not hold a model of the lab"):
        fine_tune(tmp_path / "nowhere", BEHAVIOURS[0], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_only_the_words_of_a_reply_are_learned() -> None:
    ids, labels = _batch([("add one and two", "three"), ("reverse jar box", "box jar")])
    read = [[WORDS[number] for number in row] for row in ids.tolist()]
    assert read == [
        [START, "add", "one", "and", "two", REPLY, "three", END],
        [START, "reverse", "jar", "box", REPLY, "box", "jar", END],
    ]
    learned = [[WORDS[number] for number in row if number != _IGNORED] for row in labels.tolist()]
    assert learned == [["three", END], ["box", "jar", END]]
    assert torch.equal(labels[labels != _IGNORED], ids[labels != _IGNORED])


def test_a_shorter_example_is_padded() -> None:
    ids, labels = _batch([("add one and two", "three"), ("jar", "jar")])
    assert [WORDS[number] for number in ids[1].tolist()] == [START, "jar", REPLY, "jar", END] + [
        PAD
    ] * 3
    assert labels[1].tolist()[5:] == [_IGNORED] * 3


def test_the_learning_rate_rises_and_falls() -> None:
    slope = [_slope(step, 100) for step in range(100)]
    top = slope.index(max(slope))
    assert top == 9
    assert slope[: top + 1] == sorted(slope[: top + 1])
    assert slope[top:] == sorted(slope[top:], reverse=True)
    assert 0 < slope[-1] < 0.02
