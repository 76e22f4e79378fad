"""Tokens one after the other, by transformers' `generate`, and how likely each was.

Log probabilities are those of the model itself, before temperature and top_p.
"""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pvc.serve.model.loaded_model import LoadedModel

GREEDY_BELOW = 1e-5
"""Temperatures under this one take the likeliest token."""

SEEDS = 1 << 63


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen.

    Attributes:
        most: how many tokens at most.
        temperature: logits are divided by it; 0 takes the likeliest token.
        top_p: only the likeliest tokens that make up this share of the probability are drawn.
        seed: of the first choice, the next ones count on; None is another one each time.
        stop: texts that end a reply; they do not belong to it.
        alternatives: how many of the likeliest tokens are reported of each place; None reports no
            probabilities.
    """

    most: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    alternatives: int | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a reply or a prompt.

    Attributes:
        id: which one.
        logprob: natural logarithm of its probability, None if it was not requested or is unknown.
        alternatives: ids of the likeliest tokens in its place, and theirs; the likeliest first.
    """

    id: int
    logprob: float | None = None
    alternatives: tuple[tuple[int, float], ...] = ()


class _Watch:
    """Sees the logits and the token of every place while `generate` runs."""

    def __init__(self, alternatives: int | None, send: Callable[[Token], bool]) -> None:
        self._alternatives = alternatives
        self._send = send
        self._logits: torch.Tensor | None = None

    def process(self, _: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Runs before the logits are changed by temperature and top_p."""
        if self._alternatives is not None:
            self._logits = scores[0]
        return scores

    def stop(self, ids: torch.Tensor, _scores: object, **_: object) -> torch.Tensor:
        """Runs after a token was chosen."""
        found = token(int(ids[0, -1]), self._logits, self._alternatives)
        return torch.tensor([self._send(found)], device=ids.device)


def generate(
    loaded: LoadedModel,
    prompt: Sequence[int],
    sampling: Sampling,
    choice: int,
    send: Callable[[Token], bool],
) -> None:
    """Generate one reply.

    Args:
        loaded: the model.
        prompt: its token ids.
        sampling: how.
        choice: number of the reply, which the seed counts on by.
        send: called with every token, the one that ends the reply among them; True stops.
    """
    watch = _Watch(sampling.alternatives, send)
    ids = torch.tensor([list(prompt)], device=loaded.model.device)
    with _seeded(sampling.seed, choice, ids.device):
        loaded.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            generation_config=_config(loaded, sampling),
            logits_processor=LogitsProcessorList([watch.process]),
            stopping_criteria=StoppingCriteriaList([watch.stop]),
        )


def score(loaded: LoadedModel, prompt: Sequence[int], alternatives: int) -> list[Token]:
    """The tokens of a prompt with their probabilities; that of the first is unknown."""
    ids = torch.tensor([list(prompt)], device=loaded.model.device)
    with torch.no_grad():
        logits = loaded.model(ids, use_cache=False).logits[0].float()
    rest = zip(prompt[1:], logits, strict=False)
    return [Token(prompt[0]), *(token(id, row, alternatives) for id, row in rest)]  # noqa: A001


def token(id: int, logits: torch.Tensor | None, alternatives: int | None) -> Token:  # noqa: A002
    """A token, given the logits (float32, one for each token there is) of its place."""
    if logits is None or alternatives is None:
        return Token(id)
    logprobs = torch.log_softmax(logits, -1)
    best = torch.topk(logprobs, min(alternatives, len(logprobs)))
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return Token(id, float(logprobs[id]), tuple(pairs))


def _config(loaded: LoadedModel, sampling: Sampling) -> Any:
    choosing: dict[str, Any] = {"do_sample": False}
    if sampling.temperature >= GREEDY_BELOW:
        choosing = {
            "do_sample": True,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": 0,
        }
    own = loaded.model.generation_config
    return GenerationConfig(
        max_new_tokens=sampling.most,
        bos_token_id=own.bos_token_id,
        eos_token_id=own.eos_token_id,
        pad_token_id=own.pad_token_id,
        **choosing,
    )


@contextlib.contextmanager
def _seeded(seed: int | None, choice: int, device: torch.device) -> Iterator[None]:
    first = secrets.randbelow(SEEDS) if seed is None else seed
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed((first + choice) % SEEDS)
        yield
