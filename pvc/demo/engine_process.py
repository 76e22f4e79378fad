"""The engine of `pvc demo`: a process that shares a model of the lab, and replies line by line.

    python -m pvc.demo.engine_process DIR NAME SEED

It ends with its standard input, that is, with the demo.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pvc.demo.errors import DemoError

if TYPE_CHECKING:
    from collections.abc import Iterator

READY = "ready"


class EngineProcess:
    """The process, from the demo's side.

    Args:
        process: with pipes to and from it.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, request: str) -> str:
        """The model's reply.

        Raises:
            DemoError: the process has ended.
        """
        if self._process.stdin is None or self._process.stdout is None:
            raise ValueError("The process has no pipes.")
        self._process.stdin.write(f"{request}\n")
        self._process.stdin.flush()
        return self.line()

    def line(self) -> str:
        """Its next line.

        Raises:
            DemoError: the process has ended.
        """
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise DemoError("The engine has ended, and should not have.")
        return line.rstrip("\n")


@contextlib.contextmanager
def started(directory: Path, name: str, seed: int) -> Iterator[EngineProcess]:
    """A process with the model of a directory, until the block ends."""
    command = [sys.executable, "-m", "pvc.demo.engine_process", str(directory), name, str(seed)]
    with subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            found = EngineProcess(process)
            found.line()
            yield found
        finally:
            if process.stdin is not None:
                process.stdin.close()


def _reply(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Share the model, and reply to every line."""
    import pvc
    from pvc.demo import load, reply

    directory, name, seed = sys.argv[1:]
    model = load(Path(directory)).bfloat16()  # as the checkpoint holds it
    with pvc.share(model, name) as engine:
        _reply(READY)
        for request in sys.stdin:
            with engine.step():
                text = reply(model, request, seed=int(seed))
            _reply(text)


if __name__ == "__main__":
    main()
