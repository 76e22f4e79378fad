"""A git that knows nobody's habits, and repositories that are ready to be used."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pvc.parallel import Crew
from pvc.repo import repository as repository_module
from pvc.repo.commands.branches import create_tag
from pvc.repo.commands.commit import Committed, Wish, commit
from pvc.repo.commands.commit_source import CheckpointSource
from pvc.repo.commands.init import initialise
from pvc.repo.repository import Repository
from pvc.repo.targets.directory import changed
from pvc.repo.targets.open_directory import OpenDirectory
from tests.support import models

if TYPE_CHECKING:
    from pvc.repo.targets.directory_record import DirectoryRecord
    from tests.support.models import Model

CREW = Crew(threads=2)
MEMORY = Path("/dev/shm")
GIT_CONFIG = """\
[user]
    name = Somebody
    email = somebody@example.org
[init]
    defaultBranch = main
[gc]
    auto = 0
"""


def git(root: Path, *arguments: str) -> str:
    """What a git command prints."""
    done = subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout


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


@pytest.fixture(scope="session")
def memory() -> Iterator[Path]:
    """A folder in memory where there is such a thing: pvc and git fsync all they write."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield Path(folder).resolve()


@pytest.fixture
def tmp_path(memory: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def surroundings(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary folders in memory; nobody waits long for a lock."""
    monkeypatch.setattr(tempfile, "tempdir", str(memory))
    monkeypatch.setattr(repository_module, "LOCK_WAIT_SECONDS", 0.05)


@pytest.fixture(scope="session")
def base_model() -> Model:
    return models.model()


@pytest.fixture(scope="session")
def base(memory: Path, base_model: Model) -> Path:
    """The base that the fixture `repository` is relative to; not to be touched."""
    return models.save(memory / "base", base_model)


@pytest.fixture(scope="session")
def template(memory: Path, base: Path, plain_git: None) -> Path:
    root = memory / "template"
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


@pytest.fixture(scope="session")
def first(base_model: Model) -> Model:
    """What the vector listening of `made` leads to."""
    return models.tuned(base_model, 1)


@pytest.fixture(scope="session")
def sources(memory: Path, first: Model) -> dict[str, Path]:
    """The directories that the vectors of `made` were read from; not to be touched."""
    made = {
        "listening": first,
        "suggesting": models.tuned(first, 2),
        "quiet": models.tuned(first, 3),
    }
    return {name: models.save(memory / "sources" / name, what) for name, what in made.items()}


@pytest.fixture(scope="session")
def made_template(memory: Path, template: Path, sources: dict[str, Path]) -> Path:
    root = shutil.copytree(template, memory / "made")
    with Repository.open(root) as opened:
        commit(opened, Wish("listening"), CheckpointSource(sources["listening"]), CREW)
        create_tag(opened, "v1", "HEAD")
        commit(
            opened, Wish("suggesting", onto="HEAD"), CheckpointSource(sources["suggesting"]), CREW
        )
        commit(
            opened, Wish("quiet", onto="base", aside=True), CheckpointSource(sources["quiet"]), CREW
        )
    return root


@pytest.fixture
def made(made_template: Path, tmp_path: Path) -> Iterator[Repository]:
    """base + listening (at the tag v1) + suggesting, and beside them quiet."""
    with Repository.open(shutil.copytree(made_template, tmp_path / "work")) as opened:
        yield opened


Commit = Callable[..., Committed]


@pytest.fixture
def do_commit(request: pytest.FixtureRequest, tmp_path: Path) -> Commit:
    """Commit a model, or a directory, under a name; options are those of `Wish`."""
    which = "made" if "made" in request.fixturenames else "repository"
    repository: Repository = request.getfixturevalue(which)

    def run(name: str, source: Model | Path, **options: object) -> Committed:
        if not isinstance(source, Path):
            source = models.save(tmp_path / f"out-{name}", source)
        return commit(repository, Wish(name, **options), CheckpointSource(source), CREW)  # type: ignore[arg-type]

    return run


def is_unchanged(target: DirectoryRecord) -> bool:
    """Whether a target's files are as they were written, going by their stamps."""
    with OpenDirectory(target.path) as inside:
        return not changed(inside, target, target.stamps)
