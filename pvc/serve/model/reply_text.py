"""The text of a reply, as its tokens come.

A token need not be a character: some are parts of one, and what a token looks like depends on the
one before it.  So text is decoded together with a few tokens before, and a part of a character is
held back.  So is what may be the beginning of a text that ends the reply.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LOOK_BACK = 6
"""Tokens of the prompt that the first tokens of the reply are decoded with."""

UNFINISHED = "\ufffd"


class ReplyText:
    """The text that tokens add to a prompt.

    Args:
        decode: text of some tokens.
        prompt: the tokens before.
        stop: texts that end it; they do not belong to it.

    Attributes:
        text: all of it so far, but for an unfinished character.
        stopped: whether it has met one of `stop`.
    """

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        prompt: Sequence[int] = (),
        stop: Sequence[str] = (),
    ) -> None:
        self.text = ""
        self.stopped = False
        self._decode = decode
        self._stop = tuple(stop)
        self._longest = max(map(len, stop), default=0)
        self._ids = list(prompt[-LOOK_BACK:])
        self._from, self._known = 0, len(self._ids)
        self._taken = 0

    def add(self, token: int) -> None:
        """The next token."""
        self._ids.append(token)
        new = self._new()
        if new and not new.endswith(UNFINISHED):
            self._from, self._known = self._known, len(self._ids)
            self._append(new)

    def end(self) -> None:
        """No token follows."""
        if not self.stopped:
            self._append(self._new())
            self._known = len(self._ids)

    def take(self, *, last: bool = False) -> str:
        """What was added since this was last called, as far as it is certain; then all of it."""
        end = len(self.text) - (0 if last or self.stopped else self._held())
        start, self._taken = self._taken, max(self._taken, end)
        return self.text[start : self._taken]

    def _new(self) -> str:
        before = self._decode(self._ids[self._from : self._known])
        return self._decode(self._ids[self._from :])[len(before) :]

    def _append(self, new: str) -> None:
        begin = max(0, len(self.text) - self._longest + 1)
        self.text += new
        found = [at for one in self._stop if (at := self.text.find(one, begin)) >= 0]
        if found:
            self.text = self.text[: min(found)]
            self.stopped = True

    def _held(self) -> int:
        """Length of the longest end of the text that one of `stop` begins with."""
        lengths = range(min(self._longest - 1, len(self.text)), 0, -1)
        ends = ((n, self.text[-n:]) for n in lengths)
        return next((n for n, end in ends if any(one.startswith(end) for one in self._stop)), 0)
