"""Repositories as in tests/repo, and `pvc` at work in them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from pvc.live.announced import folder as folder_module
from pvc.live.commands import status as status_module
from pvc.parallel import Crew
from pvc.repo.commands.init import initialise
from tests.repo.conftest import (  # noqa: F401
    base,
    base_model,
    first,
    git_config,
    made_template,
    memory,
    plain_git,
    sources,
    surroundings,
    template,
    tmp_path,
)
from tests.support.runner import Pvc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.live.conftest import EngineProcess, Starter


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """No colours but those that a test asks for; nobody's name but git's configuration."""
    for name in ("NO_COLOR", "FORCE_COLOR", "PVC_DEBUG", "_PVC_COMPLETE", "EMAIL", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    for name in ("NAME", "EMAIL"):
        for who in ("AUTHOR", "COMMITTER"):
            monkeypatch.delenv(f"GIT_{who}_{name}", raising=False)


@pytest.fixture(autouse=True)
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    """The folder of engines, instead of the user's own; an engine may take its time."""
    found = tmp_path / "engines"
    monkeypatch.setattr(folder_module, "default_path", lambda: found)
    monkeypatch.setattr(status_module, "PATIENCE_SECONDS", 60.0)
    return found


@pytest.fixture
def fresh(template: Path, tmp_path: Path) -> Path:  # noqa: F811
    """A repository that holds the base alone."""
    return shutil.copytree(template, tmp_path / "work")


@pytest.fixture
def work(made_template: Path, tmp_path: Path) -> Path:  # noqa: F811
    """A repository: base + listening (at the tag v1) + suggesting, and beside them quiet."""
    return shutil.copytree(made_template, tmp_path / "work")


@pytest.fixture
def pvc(work: Path) -> Pvc:
    """`pvc` in `work`."""
    return Pvc(work)


@pytest.fixture
def start(engines: Path) -> Iterator[Starter]:
    """Starts engines in processes of their own."""
    from tests.live.conftest import Starter  # loads torch

    starter = Starter(engines)
    yield starter
    starter.end()


@pytest.fixture
def engine(start: Starter) -> EngineProcess:
    """The engine chat."""
    found = start()
    found.answer()
    return found


@pytest.fixture(scope="session")
def tiny(memory: Path, plain_git: None) -> Path:  # noqa: F811
    """A repository with the model of the engines as its base."""
    from tests.support.engine_process import make, save  # loads torch

    save(make("tiny"), memory / "tiny-base")
    (memory / "tiny").mkdir()
    initialise(memory / "tiny", memory / "tiny-base", by_value=True, crew=Crew(2))
    return memory / "tiny"
