"""The gate between steps and commits: weights change only while no step is under way.

A step ends with a block, or with the call that it began in.  Such a call may be interrupted so that
nothing reports its end (torch's hooks do not run then); so calls are remembered by their frames,
and a call whose frame is on its thread's stack no more has ended.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    Find = Callable[[], FrameType | None]

LOOK_SECONDS = 0.5
AGAIN_SECONDS = 0.01


class StepGate:
    """Steps pass while it is open; any number of threads may be in one.

    A commit shuts it, which holds new steps back, and goes on when the last one is done: so a
    process that does nothing but steps cannot keep a commit waiting.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._steps: dict[int, list[FrameType | None]] = {}  # by thread, one within the other
        self._shut = False

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """No commit takes place while the block runs; steps may be nested in one thread."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def enter(self, find: Find = lambda: None) -> None:
        """A step begins; waits while a commit takes place.

        Args:
            find: the call with which it ends at the latest; None if `leave` is sure to follow.
        """
        with self._changed:  # first of all: torch.compile does not look behind it
            thread = threading.get_ident()
            self._forget(thread, inspect.currentframe())
            if thread not in self._steps:
                self._changed.wait_for(lambda: not self._shut)
            self._steps.setdefault(thread, []).append(find())

    def leave(self, find: Find = lambda: None) -> None:
        """A step ends; without effect if it did not begin in this thread."""
        with self._changed:
            thread = threading.get_ident()
            self._forget(thread, inspect.currentframe())
            steps = self._steps.get(thread)
            if steps and steps[-1] is find():
                steps.pop()
            if not steps:
                self._steps.pop(thread, None)
            self._changed.notify_all()

    def shut(self, wait: float) -> bool:
        """Hold new steps back and wait for those under way; whether they ended in time.

        Args:
            wait: seconds; if steps last longer, the gate is left as it was.
        """
        end = time.monotonic() + wait
        with self._changed:
            before, self._shut = self._shut, True
            while self._is_busy() and (left := end - time.monotonic()) > 0:
                self._changed.wait(min(left, LOOK_SECONDS))
            if self._steps:
                self._shut = before
                self._changed.notify_all()
            return not self._steps

    def open(self) -> None:
        """Let steps go on."""
        with self._changed:
            self._shut = False
            self._changed.notify_all()

    def _is_busy(self) -> bool:
        """Whether any step is under way; what other threads do is looked at twice."""
        for thread, steps in list(self._steps.items()):
            left = [call for call in steps if not _is_within(call, _stack(thread))]
            if left:
                time.sleep(AGAIN_SECONDS)
                self._forget(thread, _stack(thread))
        return bool(self._steps)

    def _forget(self, thread: int, stack: FrameType | None) -> None:
        """Drop the steps of a thread whose calls have ended."""
        steps = [call for call in self._steps.get(thread, ()) if _is_within(call, stack)]
        if steps:
            self._steps[thread] = steps
        else:
            self._steps.pop(thread, None)


def _stack(thread: int) -> FrameType | None:
    return sys._current_frames().get(thread)  # noqa: SLF001  # documented


def _is_within(call: FrameType | None, stack: FrameType | None) -> bool:
    """Whether a stack goes on within a call; None stands for one that is sure to say its end."""
    while call is not None and stack is not call:
        if stack is None:
            return False
        stack = stack.f_back
    return True
