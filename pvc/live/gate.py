"""The gate between steps and commits: weights change only while no step is under way."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Depth(threading.local):
    """How many steps this thread is in, one within the other."""

    def __init__(self) -> None:
        self.steps = 0


class Gate:
    """Steps pass while it is open; any number of threads may be in one.

    A commit shuts it, which holds new steps back, and goes on when the last one is done: so a
    process that does nothing but steps cannot keep a commit waiting.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._steps = 0
        self._shut = False
        self._depth = _Depth()

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """No commit takes place while the block runs; steps may be nested in one thread."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def enter(self) -> None:
        """A step begins; waits while a commit takes place."""
        if not self._depth.steps:
            with self._changed:
                self._changed.wait_for(lambda: not self._shut)
                self._steps += 1
        self._depth.steps += 1

    def leave(self) -> None:
        """A step ends; without effect if none began in this thread."""
        if not self._depth.steps:
            return
        self._depth.steps -= 1
        if not self._depth.steps:
            with self._changed:
                self._steps -= 1
                self._changed.notify_all()

    def shut(self, wait: float) -> bool:
        """Hold new steps back and wait for those under way; whether they ended in time.

        Args:
            wait: seconds; if steps last longer, the gate is left as it was.
        """
        with self._changed:
            before, self._shut = self._shut, True
            done = self._changed.wait_for(lambda: not self._steps, wait)
            if not done:
                self._shut = before
                self._changed.notify_all()
            return done

    def open(self) -> None:
        """Let steps go on."""
        with self._changed:
            self._shut = False
            self._changed.notify_all()
