"""One reply while it is generated: tokens become text, and text becomes pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pvc.serve.model.generation import Token, generate, score
from pvc.serve.model.generation_job import PlacedToken, ReplyPiece
from pvc.serve.model.reply_text import ReplyText

if TYPE_CHECKING:
    from collections.abc import Callable

    from pvc.serve.model.generation_job import GenerationJob
    from pvc.serve.model.loaded_model import LoadedModel


class Reply:
    """One of the replies of a job.

    Args:
        loaded: the model.
        job: the request.
        choice: number of the reply, from 0 to all replies to all prompts.
        weights: version of the weights.
        send: called with each piece.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        job: GenerationJob,
        choice: int,
        weights: str | None,
        send: Callable[[ReplyPiece], None],
    ) -> None:
        self._loaded = loaded
        self._job = job
        self._choice = choice
        self._weights = weights
        self._send = send
        self._prompt = job.prompts[choice // job.replies]
        self._text = ReplyText(loaded.decode, self._prompt.ids, job.sampling.stop)
        self._echoed = 0
        self._ended = False

    def generate(self, stopped: Callable[[], bool]) -> None:
        """Generate it; soon after `stopped` says so, no more."""
        if self._job.echo:
            self._echo()
        sampling = self._job.sampling

        def add(token: Token) -> bool:
            placed = PlacedToken(token, self._echoed + len(self._text.text))
            self._ended = token.id in self._loaded.ends
            if not self._ended:
                self._text.add(token.id)
            self._say(self._text.take(), (placed,), 1)
            return self._text.stopped or stopped()

        if sampling.most:
            number = self._choice % self._job.replies
            generate(self._loaded, self._prompt.ids, sampling, number, add)
        self._text.end()
        finish = "stop" if self._ended or self._text.stopped else "length"
        self._say(self._text.take(last=True), (), 0, finish)

    def _echo(self) -> None:
        text, alternatives = self._prompt.text, self._job.sampling.alternatives
        tokens: tuple[PlacedToken, ...] = ()
        if alternatives is not None:
            shown = ReplyText(self._loaded.decode)
            found = score(self._loaded, self._prompt.ids, alternatives)
            tokens = tuple(_placed(found, shown))
            text = shown.text
        self._echoed = len(text)
        self._say(text, tokens, 0)

    def _say(
        self, text: str, tokens: tuple[PlacedToken, ...], generated: int, finish: str | None = None
    ) -> None:
        self._send(ReplyPiece(self._choice, self._weights, text, tokens, generated, finish))


def _placed(tokens: list[Token], shown: ReplyText) -> list[PlacedToken]:
    """The tokens of a prompt, and where the text of each begins."""
    placed = []
    for token in tokens:
        placed.append(PlacedToken(token, len(shown.text)))
        shown.add(token.id)
    shown.end()
    return placed
