"""The two forms of OpenAI's replies: completions and chat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pvc.serve.model.loaded import LoadedModel
    from pvc.serve.model.order import Placed

LEAST = -9999.0
"""Stands for what is no number in JSON: the logarithm of 0."""


class ReplyForm(Protocol):
    """What the two have in different words.

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
        """What a stream begins every reply with."""
        ...

    def logprobs(self, tokens: Sequence[Placed], loaded: LoadedModel) -> dict[str, Any]:
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

    def logprobs(self, tokens: Sequence[Placed], loaded: LoadedModel) -> dict[str, Any]:
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

    def logprobs(self, tokens: Sequence[Placed], loaded: LoadedModel) -> dict[str, Any]:
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


def _alternatives(one: Placed, loaded: LoadedModel) -> dict[str, float | None] | None:
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
