"""Clients are killed at many points while the engine is under load; it never notices."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pvc import live
from tests.live.conftest import CREW
from tests.support.client_process import POINTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.live.conftest import EngineProcess, Starter

SECONDS_TO_VERIFY = 5.0


class Clients:
    """The process that forks clients."""

    def __init__(self, engine: EngineProcess) -> None:
        program = [sys.executable, "-m", "tests.support.client_process", engine.name]
        self.process = subprocess.Popen(
            [*program, str(engine.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        self.trees = [bytes.fromhex(one) for one in self.line().split()[1:]]

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def run(self, number: int, point: str, kill_at: str | None, delay: float) -> str:
        """Let a client run, and perhaps kill it; the last phase that it began."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{number} {point}\n")
        self.process.stdin.flush()
        child = int(self.line().split()[1])
        phase = "staging"
        while (line := self.line()) != "ended":
            phase = line
            if line == kill_at:
                time.sleep(delay)
                with contextlib.suppress(ProcessLookupError):  # it was done sooner
                    os.kill(child, signal.SIGKILL)
        return phase


@pytest.fixture
def clients(start: Starter) -> Iterator[tuple[EngineProcess, Clients]]:
    engine = start("medium")
    engine.answer()
    found = Clients(engine)
    yield engine, found
    found.process.kill()
    found.process.communicate()


def kill_many(engine: EngineProcess, clients: Clients, times: int, inside: int) -> None:
    """Kill at least so many clients, and so many of them inside prepare or commit."""
    chance = random.Random(5)
    engine.ask("load")
    counted = changed = 0
    for at in range(4 * times):
        if at >= times and counted >= inside:
            break
        with engine.connect() as connection:
            origin = connection.state().origin
        number = 1 - clients.trees.index(origin.tree) if origin else 1
        point = POINTS[at % len(POINTS)]
        kill_at = chance.choice(["prepare", "commit"]) if point == "none" else None
        phase = clients.run(number, point, kill_at, chance.random() * 0.03)
        counted += phase in {"prepare", "commit"}
        begin = time.monotonic()
        with engine.connect() as connection:
            tree, state = live.content(connection, CREW)
        assert tree.id in clients.trees
        assert state.torn is None
        if state.origin is not None:
            assert tree.id == state.origin.tree
            changed += origin != state.origin
        assert time.monotonic() - begin < SECONDS_TO_VERIFY
    found = engine.ask("unload")
    assert found["failures"] == []
    assert not found["hung"]
    assert found["calls"] > times
    assert found["longest"] < 5
    assert counted >= inside
    assert changed > 0


def test_killed_clients(clients: tuple[EngineProcess, Clients]) -> None:
    kill_many(*clients, times=50, inside=25)


@pytest.mark.torture
def test_many_killed_clients(clients: tuple[EngineProcess, Clients]) -> None:
    kill_many(*clients, times=200, inside=110)
