"""One reply while it is generated: tokens become text, and text becomes pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pvc.serve.model.continuation import Continuation
from pvc.serve.model.generation import Token, generate, score
from pvc.serve.model.order import Placed, ReplyPiece

if TYPE_CHECKING:
    from collections.abc import Callable

    from pvc.serve.model.loaded import LoadedModel
    from pvc.serve.model.order import Order


class Reply:
    """One of the replies of an order.

    Args:
        loaded: the model.
        order: what was asked for.
        choice: number of the reply, from 0 to all replies to all prompts.
        weights: version of the weights.
        tell: called with its pieces.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        order: Order,
        choice: int,
        weights: str | None,
        tell: Callable[[ReplyPiece], None],
    ) -> None:
        self._loaded = loaded
        self._order = order
        self._choice = choice
        self._weights = weights
        self._tell = tell
        self._prompt = order.prompts[choice // order.replies]
        self._text = Continuation(loaded.decode, self._prompt.ids, order.sampling.stop)
        self._echoed = 0
        self._ended = False

    def generate(self, stopped: Callable[[], bool]) -> None:
        """Generate it; soon after `stopped` says so, no more."""
        if self._order.echo:
            self._echo()
        sampling = self._order.sampling

        def add(token: Token) -> bool:
            placed = Placed(token, self._echoed + len(self._text.text))
            self._ended = token.id in self._loaded.ends
            if not self._ended:
                self._text.add(token.id)
            self._say(self._text.take(), (placed,), 1)
            return self._text.stopped or stopped()

        if sampling.most:
            number = self._choice % self._order.replies
            generate(self._loaded, self._prompt.ids, sampling, number, add)
        self._text.end()
        finish = "stop" if self._ended or self._text.stopped else "length"
        self._say(self._text.take(last=True), (), 0, finish)

    def _echo(self) -> None:
        text, alternatives = self._prompt.text, self._order.sampling.alternatives
        tokens: tuple[Placed, ...] = ()
        if alternatives is not None:
            shown = Continuation(self._loaded.decode)
            found = score(self._loaded, self._prompt.ids, alternatives)
            tokens = tuple(_placed(found, shown))
            text = shown.text
        self._echoed = len(text)
        self._say(text, tokens, 0)

    def _say(
        self, text: str, tokens: tuple[Placed, ...], generated: int, finish: str | None = None
    ) -> None:
        self._tell(ReplyPiece(self._choice, self._weights, text, tokens, generated, finish))


def _placed(tokens: list[Token], shown: Continuation) -> list[Placed]:
    """The tokens of a prompt, and where the text of each begins."""
    placed = []
    for token in tokens:
        placed.append(Placed(token, len(shown.text)))
        shown.add(token.id)
    shown.end()
    return placed
