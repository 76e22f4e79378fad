"""kill -9, Ctrl-C and failing disks at drawn steps of every operation; `crash` does the work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pvc.repo.git import locks
from tests.support.store_children import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pvc.repo.repository import Repository

KILLS, FAULTS = 150, 120
LONG = 7


class Run:
    """A run of `crash`, perhaps side by side with another."""

    def __init__(self, folder: Path, what: str, seed: int = 0, times: int = 1) -> None:
        words = ["-m", "tests.support.crash", what, "--seed", str(seed), "--times", str(times)]
        self.process = subprocess.Popen(
            [sys.executable, *words, "--home", folder / f"{what}-{seed}"],
            cwd=ROOT,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # who forks must have no threads
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def check(self, number: int) -> dict[str, int]:
        """All trials took place, all of them ended well, and enough of them early and late."""
        told, problems = self.process.communicate()
        assert self.process.returncode == 0, problems
        outcomes: dict[str, int] = json.loads(told)["outcomes"]
        sides = {
            side: sum(count for sort, count in outcomes.items() if sort.endswith(f": {side}"))
            for side in ("old", "part", "new")
        }
        assert sum(sides.values()) == number
        assert min(sides["old"], sides["new"]) > number // 8
        return outcomes

    def end(self) -> None:
        """Give up, if it is not done."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def short(memory: Path, plain_git: None) -> Iterator[dict[str, Run]]:
    """Both short runs, side by side."""
    runs = {what: Run(memory, what) for what in ("kills", "faults")}
    yield runs
    for run in runs.values():
        run.end()


def test_a_killed_operation_is_finished_or_undone(short: dict[str, Run]) -> None:
    assert short["kills"].check(KILLS)["recoveries killed"] > 5


def test_after_an_interrupt_or_a_disk_error_all_is_as_before(short: dict[str, Run]) -> None:
    short["faults"].check(FAULTS)


@pytest.mark.torture
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("what", "number"), [("kills", KILLS), ("faults", FAULTS)])
def test_many_more(memory: Path, what: str, number: int, seed: int) -> None:
    run = Run(memory, what, seed, LONG)
    try:
        run.check(number * LONG)
    finally:
        run.end()


def test_only_locks_of_a_git_that_was_killed_are_removed(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = repository.git
    names = ("index.lock", "HEAD.lock", "refs/heads/main.lock", "config.lock")
    of_index, of_head, of_branch, older = (git.directory / name for name in names)
    of_maintenance = git.directory / "objects" / "maintenance.lock"
    for lock in (of_index, of_head, of_branch, of_maintenance, older):
        lock.touch()
    os.utime(older, ns=(0, 10**9))  # was there before the operation began
    waits: list[float] = []

    def others_go_on(seconds: float) -> None:
        waits.append(seconds)
        of_head.unlink(missing_ok=True)  # its git is done
        os.utime(of_index, ns=(0, (9 + len(waits)) * 10**9))  # another git has it now

    monkeypatch.setattr("pvc.repo.git.locks.time.sleep", others_go_on)
    git.remove_locks(2 * 10**9)
    assert of_index.exists()
    assert older.exists()
    assert not of_head.exists()
    assert not of_branch.exists()
    assert not of_maintenance.exists()
    assert waits
    assert max(waits) <= locks.LOCK_SECONDS
