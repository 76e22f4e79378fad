"""Replies in the form of OpenAI's API, whole or in chunks: completions, chat, and errors."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pvc.serve.model.generation_job import GenerationJob, PlacedToken, ReplyPiece
    from pvc.serve.model.loaded_model import LoadedModel

SERVER_ERROR = 500

LEAST = -9999.0
"""Stands for what is no number in JSON: the logarithm of 0."""


def error(
    text: str, status: int, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """An error, for the HTTP status that it comes with."""
    kind = "invalid_request_error" if status < SERVER_ERROR else "server_error"
    return {"error": {"message": text, "type": kind, "param": param, "code": code}}


class ReplyForm(Protocol):
    """The fields in which completions and chat differ.

    Attributes:
        prefix: what ids begin with.
        kind: of whole replies.
        chunk_kind: of chunks of a stream.
    """

    prefix: str
    kind: str
    chunk_kind: str

    def whole(self, text: str) -> dict[str, Any]:
        """The text of a whole reply."""
        ...

    def part(self, text: str) -> dict[str, Any]:
        """The text of a chunk."""
        ...

    def opening(self) -> dict[str, Any] | None:
        """The first chunk of every reply of a stream; None if there is none."""
        ...

    def logprobs(self, tokens: Sequence[PlacedToken], loaded: LoadedModel) -> dict[str, Any]:
        """How likely tokens were."""
        ...


class CompletionForm:
    """`/v1/completions`."""

    prefix = "cmpl-"
    kind = chunk_kind = "text_completion"

    def whole(self, text: str) -> dict[str, Any]:
        """The text of a whole reply."""
        return {"text": text}

    part = whole

    def opening(self) -> dict[str, Any] | None:
        """Nothing comes before the text."""
        return None

    def logprobs(self, tokens: Sequence[PlacedToken], loaded: LoadedModel) -> dict[str, Any]:
        """Four lists, with an entry for each token."""
        return {
            "tokens": [loaded.name(one.token.id) for one in tokens],
            "token_logprobs": [_finite(one.token.logprob) for one in tokens],
            "top_logprobs": [_alternatives(one, loaded) for one in tokens],
            "text_offset": [one.offset for one in tokens],
        }


class ChatForm:
    """`/v1/chat/completions`."""

    prefix = "chatcmpl-"
    kind = "chat.completion"
    chunk_kind = "chat.completion.chunk"

    def whole(self, text: str) -> dict[str, Any]:
        """The text of a whole reply."""
        return {"message": {"role": "assistant", "content": text}}

    def part(self, text: str) -> dict[str, Any]:
        """The text of a chunk."""
        return {"delta": {"content": text} if text else {}}

    def opening(self) -> dict[str, Any] | None:
        """Who speaks."""
        return {"delta": {"role": "assistant", "content": ""}}

    def logprobs(self, tokens: Sequence[PlacedToken], loaded: LoadedModel) -> dict[str, Any]:
        """One list, with an entry for each token."""
        return {
            "content": [
                {
                    **_named(one.token.id, one.token.logprob, loaded),
                    "top_logprobs": [_named(*pair, loaded) for pair in one.token.alternatives],
                }
                for one in tokens
            ]
        }


@dataclass
class _Choice:
    """The pieces of one reply, put together."""

    text: str = ""
    tokens: list[PlacedToken] = field(default_factory=list)
    finish: str | None = None
    begun: bool = False


class OpenAIReply:
    """The answer to one request, put together from pieces.

    Args:
        form: completion or chat.
        job: the request.
        loaded: the model.
        name: what the model is called.

    Attributes:
        weights: the version of the weights that it comes from; None if pvc did not write them.
    """

    def __init__(self, form: ReplyForm, job: GenerationJob, loaded: LoadedModel, name: str) -> None:
        self._form = form
        self._with_logprobs = job.sampling.alternatives is not None
        self._loaded = loaded
        self._choices = [_Choice() for _ in range(len(job.prompts) * job.replies)]
        self._prompt_tokens = sum(len(prompt.ids) for prompt in job.prompts)
        self._generated = 0
        self._head: dict[str, Any] = {
            "id": f"{form.prefix}{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": name,
        }
        self.weights: str | None = None

    def add(self, piece: ReplyPiece) -> None:
        """The next piece of it."""
        choice = self._choices[piece.choice]
        choice.text += piece.text
        choice.tokens += piece.tokens
        choice.finish = piece.finish
        self.weights = piece.weights
        self._generated += piece.generated

    def whole(self) -> dict[str, Any]:
        """All of it."""
        choices = [
            self._choice(index, self._form.whole(one.text), one.tokens, one.finish)
            for index, one in enumerate(self._choices)
        ]
        return {
            **self._head,
            "system_fingerprint": self.weights,
            "object": self._form.kind,
            "choices": choices,
            "usage": self._usage(),
        }

    def chunks(self, piece: ReplyPiece) -> list[dict[str, Any]]:
        """What a stream says of a piece; nothing if it brings nothing."""
        self.add(piece)
        choice, found = self._choices[piece.choice], []
        opening = None if choice.begun else self._form.opening()
        choice.begun = True
        if opening is not None:
            found.append(self._chunk([self._choice(piece.choice, opening, (), None)]))
        if piece.text or piece.finish or (self._with_logprobs and piece.tokens):
            part = self._form.part(piece.text)
            found.append(
                self._chunk([self._choice(piece.choice, part, piece.tokens, piece.finish)])
            )
        return found

    def numbers(self) -> dict[str, Any]:
        """The last chunk of a stream for clients that want the numbers of tokens."""
        return {**self._chunk([]), "usage": self._usage()}

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            **self._head,
            "system_fingerprint": self.weights,
            "object": self._form.chunk_kind,
            "choices": choices,
        }

    def _choice(
        self, index: int, content: dict[str, Any], tokens: Sequence[PlacedToken], finish: str | None
    ) -> dict[str, Any]:
        logprobs = self._form.logprobs(tokens, self._loaded) if self._with_logprobs else None
        return {"index": index, **content, "logprobs": logprobs, "finish_reason": finish}

    def _usage(self) -> dict[str, int]:
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": self._generated,
            "total_tokens": self._prompt_tokens + self._generated,
        }


def _alternatives(one: PlacedToken, loaded: LoadedModel) -> dict[str, float | None] | None:
    """By text; of several tokens with one text, the likeliest."""
    token = one.token
    if token.logprob is None:
        return None
    pairs = [*reversed(token.alternatives), (token.id, token.logprob)]
    return {loaded.name(id): _finite(logprob) for id, logprob in pairs}  # noqa: A001


def _named(id: int, logprob: float | None, loaded: LoadedModel) -> dict[str, Any]:  # noqa: A002
    text = loaded.name(id)
    return {"token": text, "logprob": _finite(logprob), "bytes": list(text.encode())}


def _finite(logprob: float | None) -> float | None:
    if logprob is None:
        return None
    return max(LEAST, logprob)  # also if it is NaN
