"""Runs `pvc` as people do: as a process, or as quickly within this one."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from pvc.cli.boundary import run

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
PVC = (sys.executable, "-m", "pvc")
PERSONAL = {"PYTHONUNBUFFERED", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"}
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Done:
    """How a run of `pvc` ended.

    Attributes:
        code: the exit code.
        out: what it wrote to stdout.
        err: what it wrote to stderr.
    """

    code: int
    out: str
    err: str

    def answer(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        assert self.code in {0, 1}, self.err
        return self._document(self.out)

    def error(self) -> dict[str, Any]:
        """The one JSON document on stderr."""
        assert self.code
        assert not self.out
        error: dict[str, Any] = self._document(self.err)["error"]
        return error

    @staticmethod
    def _document(text: str) -> dict[str, Any]:
        assert text.count("\n") == 1
        document: dict[str, Any] = json.loads(text)
        assert document["version"] == 1
        return document


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a process."""
    plain = {name: value for name, value in os.environ.items() if name not in PERSONAL}
    return {**plain, "TERM": "xterm", **(changes or {})}


def spawn(
    *words: str | Path, cwd: Path, env: Mapping[str, str] | None = None, **options: Any
) -> Done:
    """Run `pvc` as a process of its own."""
    done = subprocess.run(
        [*PVC, *map(str, words)],
        cwd=cwd,
        env=environment(env),
        check=False,
        capture_output=True,
        text=True,
        encoding="utf-8",
        **{"timeout": 120, **options},
    )
    return Done(done.returncode, done.stdout, done.stderr)


class Pvc:
    """Runs `pvc -C DIRECTORY` within this process, up to the exit code.

    Args:
        directory: where it works.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __call__(self, *words: str | Path) -> Done:
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
        arguments = ["pvc", "-C", str(self.directory), *map(str, words)]
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        try:
            with redirect_stdout(out), redirect_stderr(err), patch.object(sys, "argv", arguments):
                run()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else -1
            return Done(code, _text(out), _text(err))
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def json(self, *words: str | Path) -> dict[str, Any]:
        """The answer in JSON."""
        done = self(*words, "--json")
        assert not done.err
        return done.answer()


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue().decode()
