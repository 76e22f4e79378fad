"""Commands run as processes of their own: how long, how much of the processors, how much memory."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SAMPLE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Run:
    """What a command took; runs that follow each other add up.

    Attributes:
        seconds: wall time.
        cpu: user and system time of the process and of those it waited for, seconds.
        anonymous: the most anonymous memory that it and its descendants were seen to hold, bytes.
        output: standard output of the last one.
    """

    seconds: float = 0.0
    cpu: float = 0.0
    anonymous: int = 0
    output: str = ""

    def __add__(self, other: Run) -> Run:
        return Run(
            self.seconds + other.seconds,
            self.cpu + other.cpu,
            max(self.anonymous, other.anonymous),
            other.output,
        )


class FailedError(Exception):
    """A command that was to be measured failed."""


def run(
    command: Sequence[str | Path], directory: Path, environment: Mapping[str, str] | None = None
) -> Run:
    """Run a command to its end.

    Args:
        command: program and arguments.
        directory: where.
        environment: None is this process's own.

    Raises:
        FailedError: its exit status is not 0.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        began = time.monotonic()
        process = subprocess.Popen(
            command, cwd=directory, env=environment, stdout=output, stderr=errors
        )
        sampler = _Sampler(process.pid)
        sampler.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        sampler.stop()
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            raise FailedError(f"{' '.join(map(str, command))} failed:\n{errors.read()}")
        cpu = usage.ru_utime + usage.ru_stime
        return Run(seconds, cpu, sampler.most, output.read())


class _Sampler(threading.Thread):
    """Watches the anonymous memory of a process and its descendants."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self.most = 0
        self._process = process
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self.most = max(self.most, _anonymous(self._process))

    def stop(self) -> None:
        self._ended.set()
        self.join()


def _anonymous(process: int) -> int:
    """Bytes of anonymous memory of a process and its descendants; 0 of those that have ended."""
    folder = Path(f"/proc/{process}")
    try:
        status = (folder / "status").read_text(encoding="utf-8").splitlines()
        children = [file.read_text(encoding="utf-8") for file in folder.glob("task/*/children")]
    except (FileNotFoundError, ProcessLookupError):
        return 0
    held = sum(int(line.split()[1]) for line in status if line.startswith("RssAnon:"))
    return held * 1024 + sum(_anonymous(int(child)) for child in " ".join(children).split())
