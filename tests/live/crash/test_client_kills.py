"""`checkout --live` and `commit --live` killed at every point that matters, and what comes next."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pvc.live.client.updating import DriftedEngineError
from pvc.live.commands import status as status_module
from pvc.repo.commands.fsck import fsck
from pvc.repo.commands.status import status as repository_status
from pvc.repo.repository import Repository
from tests.live.conftest import CREW, EngineProcess, Starter
from tests.repo.conftest import git_config, memory, plain_git, tmp_path  # noqa: F401
from tests.support.engine_process import make, save
from tests.support.engines import create, go, held, keep, look, outputs

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("plain_git")


class Victims:
    """The process that forks commands."""

    def __init__(self, root: Path, engine: EngineProcess) -> None:
        program = [sys.executable, "-m", "tests.support.killed_process", str(root), engine.name]
        self.process = subprocess.Popen(
            [*program, str(engine.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def kill(self, command: str, argument: str, point: str) -> None:
        """Run a command until the point where it dies."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{command} {argument} {point}\n")
        self.process.stdin.flush()
        assert int(self.process.stdout.readline()) == signal.SIGKILL


@pytest.fixture(scope="module")
def scene(
    memory: Path,  # noqa: F811
    plain_git: None,  # noqa: F811
) -> Iterator[tuple[Repository, EngineProcess, Victims]]:
    """A repository with one commit from an engine, both as they are left by the test before."""
    starter = Starter(memory / "kills-engines")
    engine = starter()
    save(make("tiny"), memory / "kills-base")
    engine.answer()
    root = create(memory / "kills", memory / "kills-base")
    victims = Victims(root, engine)
    with Repository.open(root) as repository:
        engine.ask("train")
        keep(repository, engine, "first")
        yield repository, engine, victims
    victims.process.kill()
    victims.process.communicate()
    starter.end()


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_module, "PATIENCE_SECONDS", 60.0)


@pytest.mark.parametrize(
    ("point", "arrived", "moved"),
    [
        ("before prepare", False, False),
        ("after prepare", False, False),
        ("before commit", False, False),
        ("after commit", True, False),
        ("before save", True, False),
        ("after save", True, False),
        ("before move", True, False),
        ("after move", True, True),
    ],
)
def test_checkout(
    scene: tuple[Repository, EngineProcess, Victims],
    tmp_path: Path,  # noqa: F811
    point: str,
    arrived: bool,
    moved: bool,
) -> None:
    """The engine holds the one or the other tree, says which, and the same command goes through."""
    repository, engine, victims = scene
    go(repository, engine, "main")
    now, then = (repository.head(), held(engine, repository))
    start = repository.git.find("HEAD~1")
    assert start is not None
    before = outputs(engine, tmp_path)
    victims.kill("checkout", "HEAD~1", point)
    base = now.config.base_tree
    assert held(engine, repository) == (base if arrived else then)
    assert np.array_equal(outputs(engine, tmp_path), before) != arrived
    assert (repository.head().commit != now.commit) == moved
    seen = look(repository, engine)
    assert (seen.condition, seen.tree) == ("clean", base if arrived else then)
    assert seen.revision == (start[:10] if arrived else "main")
    assert seen.is_head == (arrived == moved)
    done = go(repository, engine, "base" if moved else "main~1")
    assert done.rescue is None
    assert held(engine, repository) == base
    assert not repository_status(repository).interrupted


@pytest.mark.parametrize(
    ("point", "committed", "told"),
    [
        ("before record", False, False),
        ("before git", False, False),
        ("after git", True, False),
        ("before save", True, False),
        ("after save", True, False),
        ("before prepare", True, False),
        ("before commit", True, False),
        ("after commit", True, True),
    ],
)
def test_commit(
    scene: tuple[Repository, EngineProcess, Victims], point: str, committed: bool, told: bool
) -> None:
    """The commit is made or not; the weights stay, and nothing takes them for lost or for new."""
    repository, engine, victims = scene
    go(repository, engine, "main")
    number = len(repository.git.run("rev-list", "HEAD").split())
    engine.ask("train")
    weights = held(engine, repository)
    name = f"v{number}_{point.replace(' ', '_')}"
    victims.kill("commit", name, point)
    assert held(engine, repository) == weights
    assert len(repository.git.run("rev-list", "HEAD").split()) == number + committed
    if told:
        assert look(repository, engine).condition == "clean"
    if committed:
        done = go(repository, engine, "main~1")  # nothing would be lost
        assert done.rescue is None
        go(repository, engine, "main")
    else:
        assert look(repository, engine).condition == "drifted"
        with pytest.raises(DriftedEngineError):  # although the store may have the tree by now
            go(repository, engine, "main~1")
        assert keep(repository, engine, name).origin_text == "main"
    assert held(engine, repository) == weights
    seen = look(repository, engine)
    assert (seen.condition, seen.is_head) == ("clean", True)
    assert str(repository.head().personality).endswith(f" + {name}")


def test_nothing_is_broken(scene: tuple[Repository, EngineProcess, Victims]) -> None:
    """After all that."""
    repository, _, _ = scene
    assert fsck(repository, CREW).findings == ()
