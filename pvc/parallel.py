"""Threads that share a list of jobs, stop together, and report their progress."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")


class Progress(Protocol):
    """Receives what long work reports; called from several threads."""

    def start(self, label: str, total: int) -> None:
        """A phase begins: what it does, and how many bytes it will handle."""
        ...

    def label(self, text: str) -> None:
        """The phase goes on with another step, called `text`; its total stays."""
        ...

    def advance(self, count: int) -> None:
        """`count` more bytes are done."""
        ...


class Silence:
    """Reports to nobody."""

    def start(self, label: str, total: int) -> None:
        """See `Progress.start`."""

    def label(self, text: str) -> None:
        """See `Progress.label`."""

    def advance(self, count: int) -> None:
        """See `Progress.advance`."""


class StoppedError(Exception):
    """Raised inside a worker because another one failed, or the user interrupted."""


class Stop:
    """Tells workers to give up."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Ask every worker to give up at its next check."""
        self._event.set()

    def check(self) -> None:
        """Called by workers between blocks.

        Raises:
            StoppedError: the worker should give up.
        """
        if self._event.is_set():
            raise StoppedError


def default_threads() -> int:
    """As many threads as this process may use processors."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class Crew:
    """Who does long work.

    Attributes:
        threads: how many jobs are done at a time.
        progress: receives how far they are.
    """

    threads: int = field(default_factory=default_threads)
    progress: Progress = field(default_factory=Silence)


def run(jobs: Sequence[T], work: Callable[[T, Stop], None], threads: int) -> None:
    """Do `work` for each of `jobs`, started in their order, on some threads.

    The first error, or the user's interrupt, is raised after all workers have stopped.
    """
    from concurrent.futures import ThreadPoolExecutor, wait  # they load logging

    stop = Stop()
    failures: list[BaseException] = []
    waiting = iter(list(jobs))

    def work_on() -> None:
        try:
            for job in waiting:  # one iterator, from which all threads take
                stop.check()
                work(job, stop)
        except StoppedError:
            pass
        except BaseException as failure:
            failures.append(failure)
            stop.set()
            raise

    with ThreadPoolExecutor(max(1, threads)) as pool:
        try:
            wait([pool.submit(work_on) for _ in range(min(max(1, threads), len(jobs)))])
        except BaseException:
            stop.set()
            raise
    if failures:
        raise failures[0]
