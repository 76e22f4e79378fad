"""What Python programs use: the same as the commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import pvc
from pvc.live.announced import folder as folder_module
from pvc.live.commands import status as status_module
from pvc.repo.git import NoRepositoryError
from tests.live.conftest import Starter
from tests.repo.conftest import git_config, memory, plain_git, tmp_path  # noqa: F401
from tests.support.engine_process import make, save
from tests.support.engines import create

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.live.conftest import EngineProcess

pytestmark = pytest.mark.usefixtures("plain_git")


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineProcess]:  # noqa: F811
    monkeypatch.setattr(folder_module, "default_path", lambda: tmp_path / "engines")
    monkeypatch.setattr(status_module, "PATIENCE_SECONDS", 60.0)
    starter = Starter(tmp_path / "engines")
    found = starter()
    found.answer()
    yield found
    starter.end()


def test_the_story(engine: EngineProcess, tmp_path: Path) -> None:  # noqa: F811
    save(make("tiny"), tmp_path / "base")
    root = create(tmp_path / "work", tmp_path / "base")
    with pvc.open(root / ".git" / "..") as repository:
        assert repository.root == root
        engine.ask("train")
        done = repository.commit("listening", engine="chat", message="one step")
        assert (done.action, done.clean) == ("captured", True)
        assert repository.verify().drifted == ()
        assert repository.verify("chat", "base").drifted
        assert repository.checkout("HEAD~1", engine="chat").head_moved
        assert repository.checkout("main", engine=True, keep_head=True).engine == "chat"
        [seen] = repository.engines()
        assert (seen.condition, seen.is_head) == ("clean", False)
        written = repository.checkout("main", tmp_path / "out")
        assert written.directory == tmp_path / "out"
        aside = repository.commit("again", tmp_path / "out", aside=True, onto="base")
        assert aside.vector.to_tree == done.vector.to_tree
        assert [target.state for target in repository.status().targets] == ["clean"]
        engine.ask("poke", names=["turned"])
        forced = repository.checkout("main", engine="chat", force=True)
        assert forced.rescue is not None
        restored = repository.restore()
        assert (restored.nbytes, restored.tree) == (0, done.vector.to_tree)
        assert repository.notices == ()


def test_it_says_where_there_is_none(tmp_path: Path) -> None:  # noqa: F811
    with pytest.raises(NoRepositoryError):
        pvc.open(tmp_path)
