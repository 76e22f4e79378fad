"""Replies as OpenAI's API has them: whole ones, the chunks of a stream, and errors."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pvc.serve.http.reply_forms import ReplyForm
    from pvc.serve.model.loaded import LoadedModel
    from pvc.serve.model.order import Order, Placed, ReplyPiece

SERVER_ERROR = 500


def error(
    text: str, status: int, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """An error, for the HTTP status that it comes with."""
    kind = "invalid_request_error" if status < SERVER_ERROR else "server_error"
    return {"error": {"message": text, "type": kind, "param": param, "code": code}}


@dataclass
class _Choice:
    """What has come of one reply."""

    text: str = ""
    tokens: list[Placed] = field(default_factory=list)
    finish: str | None = None
    begun: bool = False


class Answer:
    """The answer to one request, as it comes.

    Args:
        form: completion or chat.
        order: what was asked for.
        loaded: the model.
        name: what the model is called.
    """

    def __init__(self, form: ReplyForm, order: Order, loaded: LoadedModel, name: str) -> None:
        self._form = form
        self._tells = order.sampling.alternatives is not None
        self._loaded = loaded
        self._choices = [_Choice() for _ in range(len(order.prompts) * order.replies)]
        self._prompt_tokens = sum(len(prompt.ids) for prompt in order.prompts)
        self._generated = 0
        self._head: dict[str, Any] = {
            "id": f"{form.prefix}{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": name,
            "system_fingerprint": None,
        }

    def add(self, piece: ReplyPiece) -> None:
        """The next piece of it."""
        choice = self._choices[piece.choice]
        choice.text += piece.text
        choice.tokens += piece.tokens
        choice.finish = piece.finish
        self._head["system_fingerprint"] = piece.weights
        self._generated += piece.generated

    def whole(self) -> dict[str, Any]:
        """All of it."""
        choices = [
            self._choice(index, self._form.whole(one.text), one.tokens, one.finish)
            for index, one in enumerate(self._choices)
        ]
        return {
            **self._head,
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
        if piece.text or piece.finish or (self._tells and piece.tokens):
            part = self._form.part(piece.text)
            found.append(
                self._chunk([self._choice(piece.choice, part, piece.tokens, piece.finish)])
            )
        return found

    def numbers(self) -> dict[str, Any]:
        """The last chunk of a stream for clients that want the numbers of tokens."""
        return {**self._chunk([]), "usage": self._usage()}

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {**self._head, "object": self._form.chunk_kind, "choices": choices}

    def _choice(
        self, index: int, content: dict[str, Any], tokens: Sequence[Placed], finish: str | None
    ) -> dict[str, Any]:
        logprobs = self._form.logprobs(tokens, self._loaded) if self._tells else None
        return {"index": index, **content, "logprobs": logprobs, "finish_reason": finish}

    def _usage(self) -> dict[str, int]:
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": self._generated,
            "total_tokens": self._prompt_tokens + self._generated,
        }
