"""Progress of long work: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import click

from pvc.cli.numbers import WholeNumber
from pvc.cli.output import terminal
from pvc.wording import size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pvc.cli.output import Output
    from pvc.parallel import Crew

SHOWN_AFTER_SECONDS = 0.8
REDRAWN_AFTER_SECONDS = 0.1
LINE_EVERY_SECONDS = 10.0


class Reporter:
    """Shows what `pvc.parallel.Progress` reports; nothing if the work is done within a second."""

    def __init__(self, *, terminal: bool, unit: str = "bytes") -> None:
        self._terminal = terminal
        self._bytes = unit == "bytes"
        self._unit = unit
        self._lock = threading.Lock()
        self._label, self._total, self._done = "", 0, 0
        self._began = self._drawn = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start(self, label: str, total: int) -> None:
        """A phase begins."""
        with self._lock:
            self._label, self._total, self._done = label, total, 0
            if self._bar is not None:
                self._bar.reset(self._task, description=label, total=total)

    def label(self, text: str) -> None:
        """The phase goes on with another step."""
        with self._lock:
            self._label = text
            if self._bar is not None:
                self._bar.update(self._task, description=text)

    def advance(self, count: int) -> None:
        """More is done."""
        with self._lock:
            self._done += count
            now = time.monotonic()
            if self._terminal:
                self._draw(now)
            elif now - self._drawn >= LINE_EVERY_SECONDS:
                self._drawn = now
                click.echo(f"{self._label}: {self._amounts()}", err=True)

    def _amounts(self) -> str:
        if self._bytes:
            return f"{size(self._done)} of {size(self._total)}"
        return f"{self._done} of {self._total} {self._unit}"

    def _draw(self, now: float) -> None:
        if now - self._began < SHOWN_AFTER_SECONDS or now - self._drawn < REDRAWN_AFTER_SECONDS:
            return
        self._drawn = now
        if self._bar is None:
            self._begin()
        self._bar.update(self._task, completed=self._done)

    def _begin(self) -> None:
        from rich import progress
        from rich.console import Console

        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            *self._columns(progress),
            progress.TimeRemainingColumn(),
            console=Console(stderr=True, force_terminal=True),
            transient=True,
        )
        self._task = self._bar.add_task(self._label, total=self._total)
        self._bar.start()

    def _columns(self, progress: Any) -> list[Any]:
        if self._bytes:
            return [progress.DownloadColumn(), progress.TransferSpeedColumn()]
        return [progress.MofNCompleteColumn()]


@contextlib.contextmanager
def crew(output: Output, threads: int | None) -> Iterator[Crew]:
    """Threads for long work, with progress on stderr."""
    from pvc.parallel import Crew, default_threads

    count = threads or default_threads()
    if not output.shows_progress():
        yield Crew(count)
        return
    with Reporter(terminal=terminal(sys.stderr)) as reporter:
        yield Crew(count, reporter)


threads_option = click.option(
    "--threads",
    type=WholeNumber(1, 1024),
    metavar="N",
    help="Number of threads. Default: one per processor.",
)
