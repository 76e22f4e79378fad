from __future__ import annotations

from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING

import pytest
import torch

from pvc.demo.errors import DemoError
from pvc.demo.scores import _shares, ask, measure
from pvc.demo.tasks import BEHAVIOURS, chance, requests

if TYPE_CHECKING:
    from pathlib import Path


def test_shares_count_replies_that_show_a_behaviour() -> None:
    asked = list(islice(requests(chance("shares"), held_out=True), 4))
    shown = [{"listening"}, {"listening", "polite"}, set(), {"listening", "suggesting"}]
    replies = [request.reply(frozenset(names)) for request, names in zip(asked, shown, strict=True)]
    assert _shares(asked, replies) == {"listening": 0.75, "suggesting": 0.25, "polite": 0.25}


def test_the_right_words_for_another_request_do_not_count() -> None:
    asked = list(islice(requests(chance("others"), held_out=True), 30))
    replies = [request.reply(frozenset(BEHAVIOURS)) for request in asked]
    wrong = [
        (request, reply)
        for request, reply in zip(asked, [*replies[1:], replies[0]], strict=True)
        if request.phrase("listening") not in reply
    ]
    assert len(wrong) > 20
    assert not _shares([request for request, _ in wrong], [reply for _, reply in wrong])[
        "listening"
    ]


def test_scores_are_shares_and_the_same_each_time(start: Path) -> None:
    state = torch.random.get_rng_state()
    scores = measure(start, samples=20)
    assert measure(start, samples=20) == scores
    assert all(0 <= score <= 1 for score in asdict(scores).values())
    assert scores.core == 0, "a model after two steps knows nothing"
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_reply_depends_on_its_seed_alone(start: Path, capfd: pytest.CaptureFixture[str]) -> None:
    replies = [ask(start, "Please paint the table in the kitchen.", seed=n) for n in (0, 0, 1)]
    assert replies[0] == replies[1] != replies[2]
    assert capfd.readouterr() == ("", "")


def test_a_request_with_an_unknown_word_is_refused(start: Path) -> None:
    with pytest.raises(DemoError, match="'piano'"):
        ask(start, "Please paint the piano.")


def test_a_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match=r"no config\.json"):
        measure(tmp_path)
