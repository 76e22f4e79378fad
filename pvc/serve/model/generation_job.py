"""The job of a request: prompts and how to continue them; and the pieces of its replies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pvc.serve.model.generation import Sampling, Token


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text to be continued, and its tokens."""

    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GenerationJob:
    """The replies that one request wants.

    Attributes:
        prompts: the prompts to be continued.
        replies: number of replies to each.
        sampling: how tokens are chosen.
        echo: whether each reply begins with its prompt.
    """

    prompts: tuple[Prompt, ...]
    replies: int
    sampling: Sampling
    echo: bool = False


@dataclass(frozen=True, slots=True)
class PlacedToken:
    """A token, and where its text begins: characters from the beginning of the reply's."""

    token: Token
    offset: int


@dataclass(frozen=True, slots=True)
class ReplyPiece:
    """The next part of one of the replies.

    Attributes:
        choice: which one.
        weights: the version of the weights that it comes from, None if pvc did not write them.
        text: the text that it adds.
        tokens: the tokens that came since the last piece.
        generated: how many of them are no tokens of the prompt.
        finish: why the reply ends with it, "stop" or "length"; None if it does not.
    """

    choice: int
    weights: str | None
    text: str
    tokens: tuple[PlacedToken, ...]
    generated: int
    finish: str | None = None
