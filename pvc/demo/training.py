"""Training the lab's models: a base from nothing, and fine-tunes from any model of the lab.

Every example is drawn anew, so there are no epochs.  A step takes the mean loss of the words of
the replies over a batch of dialogues, the same over a batch of controls, and adds the two:
fine-tuning rehearses the controls as well.  A fine-tune takes the bfloat16 weights it starts
from as float32, and is rounded once, when it is saved.

The same seed, versions of torch and transformers, and kind of CPU give the same weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from pvc.demo.model import create, isolated, load, save
from pvc.demo.scores import habits
from pvc.demo.tasks import BEHAVIOURS, chance, controls, dialogues, unknown_behaviour
from pvc.demo.vocabulary import END, encode, prompt, token_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from torch import Tensor

    Examples = Iterator[tuple[str, str]]

_IGNORED = -100  # the label that torch's cross entropy leaves out


class TrainingProgress(Protocol):
    """Receives how far a training has come; the command line draws it."""

    def __call__(self, label: str, done: int, total: int) -> None:
        """`done` of `total` steps of the work called `label` are over."""
        ...


def silent(label: str, done: int, total: int) -> None:
    """Reports nothing."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how strongly a model is trained.

    Attributes:
        steps: optimiser steps.
        rate: peak learning rate of AdamW; it rises over a tenth of the steps, then falls to zero.
        dialogues: examples of requests in a step.
        controls: examples of controls in a step.
    """

    steps: int
    rate: float
    dialogues: int
    controls: int


BASE = Schedule(steps=350, rate=3e-3, dialogues=24, controls=32)
FINE_TUNE = Schedule(steps=60, rate=4e-4, dialogues=32, controls=16)
BASE_ODDS = 1 / 3
TRAINED_ODDS = 0.98  # a step short of always: certainty drives the weights without end


def train_base(
    out: Path, *, seed: int = 0, progress: TrainingProgress = silent, schedule: Schedule = BASE
) -> None:
    """Train a model that shows each behaviour in about a third of its replies, and save it."""
    progress("base", 0, schedule.steps)
    talk = dialogues(chance("base", seed), dict.fromkeys(BEHAVIOURS, BASE_ODDS))
    with isolated(seed):
        model = create()
        skills = controls(chance("base controls", seed))
        _train(model, talk, skills, schedule, partial(progress, "base"))
    save(model, out)


def fine_tune(  # noqa: PLR0913 - the last three have defaults
    start: Path,
    behaviour: str,
    out: Path,
    *,
    seed: int = 0,
    progress: TrainingProgress = silent,
    schedule: Schedule = FINE_TUNE,
) -> None:
    """Train the model in `start` to show a behaviour nearly always, and save it in `out`.

    The other behaviours are shown in the examples as often as the model in `start` shows them, so
    that training leaves them as they are.

    Raises:
        DemoError: the lab knows no behaviour of this name, or `start` holds no model of the lab.
    """
    if behaviour not in BEHAVIOURS:
        raise unknown_behaviour(behaviour)
    progress(behaviour, 0, schedule.steps)
    model = load(start)
    samples = max(1, schedule.steps * schedule.dialogues // 3)  # the examples vary as much
    odds = {**habits(model, seed=seed, samples=samples), behaviour: TRAINED_ODDS}
    talk = dialogues(chance(behaviour, seed), odds)
    with isolated(seed):
        skills = controls(chance(behaviour, "controls", seed))
        _train(model, talk, skills, schedule, partial(progress, behaviour))
    save(model, out)


def _train(
    model: Any,
    talk: Examples,
    skills: Examples,
    schedule: Schedule,
    report: Callable[[int, int], None],
) -> None:
    import torch
    from torch.nn.utils import clip_grad_norm_
    from torch.optim import AdamW

    optimiser = AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.1)
    model.train()
    for step in range(schedule.steps):
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate * _slope(step, schedule.steps)
        loss = _loss(model, list(islice(talk, schedule.dialogues)))
        loss = loss + _loss(model, list(islice(skills, schedule.controls)))
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        report(step + 1, schedule.steps)


def _slope(step: int, steps: int) -> float:
    """Share of the peak learning rate at a step: up over the first tenth, then down to zero."""
    return min(1.0, (step + 1) / (0.1 * steps)) * (1 - step / steps)


def _loss(model: Any, examples: Sequence[tuple[str, str]]) -> Tensor:
    """Mean cross entropy, in nats, of the words of the replies."""
    from torch.nn.functional import cross_entropy

    ids, labels = _batch(examples)
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    return cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=_IGNORED)


def _batch(examples: Sequence[tuple[str, str]]) -> tuple[Tensor, Tensor]:
    """Token ids and labels, both int64 [examples, longest], padded on the right."""
    import torch

    end = token_ids()[END]
    pairs = [(prompt(text), [*encode(reply), end]) for text, reply in examples]
    shape = len(pairs), max(len(head) + len(reply) for head, reply in pairs)
    ids, labels = torch.zeros(shape, dtype=torch.long), torch.full(shape, _IGNORED)
    for row, (head, reply) in enumerate(pairs):
        length = len(head) + len(reply)
        ids[row, :length] = torch.tensor(head + reply)
        labels[row, len(head) : length] = torch.tensor(reply)
    return ids, labels
