"""What a request asks for, and the pieces that its replies come in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pvc.serve.model.generation import Sampling, Token


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is to be continued: its text and its tokens."""

    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Order:
    """What one request asks for.

    Attributes:
        prompts: what is to be continued.
        replies: how many to each.
        sampling: how.
        echo: whether each reply begins with its prompt.
    """

    prompts: tuple[Prompt, ...]
    replies: int
    sampling: Sampling
    echo: bool = False


@dataclass(frozen=True, slots=True)
class Placed:
    """A token, and where its text begins: characters from the beginning of the reply's."""

    token: Token
    offset: int


@dataclass(frozen=True, slots=True)
class ReplyPiece:
    """The next part of one of the replies.

    Attributes:
        choice: which one.
        weights: the version of the weights that it comes from, None if pvc did not write them.
        text: what it adds.
        tokens: the tokens that came since the last piece.
        generated: how many of them are no tokens of the prompt.
        finish: why the reply ends with it, "stop" or "length"; None if it does not.
    """

    choice: int
    weights: str | None
    text: str
    tokens: tuple[Placed, ...]
    generated: int
    finish: str | None = None
