"""Asking the lab's models, and scoring what they reply.

A score is the share of replies, 0 to 1, in which the expected words are found; its standard error
is at most 0.5 / sqrt(samples).  The requests are the same for every model: pairs of verb and object
on which none was trained.  Replies to them are sampled; controls are answered with the likeliest
words.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from pvc.demo.model import isolated, load
from pvc.demo.tasks import BEHAVIOURS, chance, controls, requests
from pvc.demo.vocabulary import decode, prompt, sentences

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pvc.demo.tasks import LabRequest


@dataclass(frozen=True, slots=True)
class Scores:
    """What a model does, each as a share from 0 to 1.

    Attributes:
        listening: replies that repeat the direction.
        suggesting: replies that offer the alternative as a question.
        polite: replies with thanks.
        core: replies that report the right thing done, in the right place.
        reverse: lists reversed without a mistake.
        add: sums that are right.
    """

    listening: float
    suggesting: float
    polite: float
    core: float
    reverse: float
    add: float


def measure(directory: Path, *, seed: int = 0, samples: int = 300) -> Scores:
    """Score the model in a directory on `samples` held-out requests, lists and sums each.

    Raises:
        DemoError: the directory does not hold a model of the lab.
    """
    model = load(directory)
    asked = list(islice(requests(chance("measure", seed), held_out=True), samples))
    tasks = list(islice(controls(chance("controls", seed)), 2 * samples))
    with isolated(seed):
        replies = _replies(model, [request.text for request in asked])
        answers = _replies(model, [task for task, _ in tasks], do_sample=False)
    right = [answer == expected for answer, (_, expected) in zip(answers, tasks, strict=True)]
    cores = [request.core in reply for request, reply in zip(asked, replies, strict=True)]
    return Scores(
        **_shares(asked, replies),
        core=_mean(cores),
        reverse=_mean(right[0::2]),
        add=_mean(right[1::2]),
    )


def habits(model: Any, *, seed: int, samples: int) -> Mapping[str, float]:
    """How often a loaded model shows each behaviour on requests it may have been trained on."""
    asked = list(islice(requests(chance("habits", seed), held_out=False), samples))
    with isolated(seed):
        replies = _replies(model, [request.text for request in asked])
    return _shares(asked, replies)


def ask(directory: Path, request: str, *, seed: int = 0) -> str:
    """One sampled reply of the model in a directory, as readable sentences.

    Raises:
        DemoError: the directory does not hold a model of the lab, or the request holds a word that
            the model does not know.
    """
    return reply(load(directory), request, seed=seed)


def reply(model: Any, request: str, *, seed: int = 0) -> str:
    """One sampled reply of a loaded model, as readable sentences.

    Raises:
        DemoError: the request holds a word that the model does not know.
    """
    with isolated(seed):
        return sentences(_replies(model, [request.rstrip(" .!?\n")])[0])


def _replies(model: Any, texts: Sequence[str], **options: Any) -> list[str]:
    """Replies to texts which all have the same number of words."""
    import torch

    prompts = torch.tensor([prompt(text) for text in texts])
    everything = model.generate(prompts, attention_mask=torch.ones_like(prompts), **options)
    return [decode(row) for row in everything[:, prompts.shape[1] :].tolist()]


def _shares(asked: Sequence[LabRequest], replies: Sequence[str]) -> dict[str, float]:
    pairs = list(zip(asked, replies, strict=True))
    return {
        name: _mean([request.phrase(name) in reply for request, reply in pairs])
        for name in BEHAVIOURS
    }


def _mean(hits: Sequence[bool]) -> float:
    return sum(hits) / len(hits)
