"""A git that knows nobody's habits, and repositories that are ready to be used."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pvc.repo import repository as repository_module
from pvc.repo.commit import Committed, Wish, commit
from pvc.repo.initialise import initialise
from pvc.repo.repository import Repository
from pvc.repo.workers import Crew
from tests.repo import models
from tests.repo.models import Model

CREW = Crew(threads=2)
GIT_CONFIG = """\
[user]
    name = Somebody
    email = somebody@example.org
[init]
    defaultBranch = main
[gc]
    auto = 0
"""


@pytest.fixture(scope="session")
def git_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    (home / ".gitconfig").write_text(GIT_CONFIG)
    return home / ".gitconfig"


@pytest.fixture(scope="session", autouse=True)
def plain_git(git_config: Path) -> Iterator[None]:
    """No configuration but this one, and no editor or pager that could wait for somebody."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(git_config.parent))
        patch.setenv("XDG_CONFIG_HOME", str(git_config.parent))
        patch.setenv("GIT_CONFIG_GLOBAL", str(git_config))
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        patch.setenv("GIT_EDITOR", "false")
        patch.setenv("GIT_TERMINAL_PROMPT", "0")
        for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_AUTHOR_NAME"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(autouse=True)
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository_module, "LOCK_WAIT_SECONDS", 0.2)


@pytest.fixture(scope="session")
def base_model() -> Model:
    return models.model()


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, base_model: Model) -> Path:
    """The base that the fixture `repository` is relative to; not to be touched."""
    return models.save(tmp_path_factory.mktemp("shared") / "base", base_model)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, base: Path, plain_git: None) -> Path:
    root = tmp_path_factory.mktemp("template") / "work"
    root.mkdir()
    initialise(root, base, by_value=True, crew=CREW)
    return root


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    """A working tree with a repository that holds the base by value."""
    return shutil.copytree(template, tmp_path / "work")


@pytest.fixture
def repository(root: Path) -> Iterator[Repository]:
    with Repository.open(root) as opened:
        yield opened


Commit = Callable[..., Committed]


@pytest.fixture
def do_commit(repository: Repository, tmp_path: Path) -> Commit:
    """Commit a model, or a directory, under a name; options are those of `Wish`."""

    def run(name: str, source: Model | Path, **options: object) -> Committed:
        if not isinstance(source, Path):
            source = models.save(tmp_path / f"out-{name}", source)
        return commit(repository, Wish(name, source, **options), CREW)  # type: ignore[arg-type]

    return run
