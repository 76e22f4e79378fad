"""Tensors that stand apart, which no engine has: with each tree of theirs come its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

from pvc.live.commands.verify import check
from pvc.repo.commands.commit import Wish, commit
from pvc.repo.commands.commit_source import CheckpointSource
from pvc.repo.personality.vector import CapturedVector
from pvc.repo.repository import Repository
from tests.live.conftest import CREW
from tests.repo.conftest import git_config, memory, plain_git, tmp_path  # noqa: F401
from tests.support.engine_process import make, save
from tests.support.engines import create, go, keep

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live.conftest import EngineProcess, Starter


@pytest.fixture
def apart(tmp_path: Path) -> Path:  # noqa: F811
    """A repository with a tensor that stands apart: listening is HEAD, polite is aside."""
    name = "2_Dense/model.safetensors"
    for number, kind in enumerate(("base", "listening", "polite")):
        torch.manual_seed(0)
        model = make("tiny")
        with torch.no_grad():
            model.get_parameter("up.weight").add_(0.1 * number)
        save(model, tmp_path / kind)
        (tmp_path / kind / "2_Dense").mkdir()
        values = {"w": torch.full((64,), float(number))}
        save_file(values, tmp_path / kind / name)
    root = create(tmp_path / "work", tmp_path / "base")
    with Repository.open(root) as repository:
        commit(repository, Wish("listening"), CheckpointSource(tmp_path / "listening"), CREW)
        source = CheckpointSource(tmp_path / "polite")
        commit(repository, Wish("polite", onto="base", aside=True), source, CREW)
    return root


def test_what_no_engine_has_comes_from_the_origin(
    apart: Path, engine: EngineProcess, start: Starter
) -> None:
    """And not from HEAD, which is another tree than the engine's."""
    name = "2_Dense/model.safetensors/w"
    with Repository.open(apart) as repository:
        tree = repository.store.tree
        go(repository, engine, "polite", keep_head=True)
        engine.ask("train")
        made = keep(repository, engine, "more", aside=True).vector
        polite = repository.head().vector("polite")
        assert isinstance(polite, CapturedVector)
        assert made.from_tree == polite.to_tree
        assert tree(made.to_tree)[name] == tree(polite.to_tree)[name]
        engine.ask("poke", names=["turned"])
        kept = go(repository, engine, "main", force=True).rescue
        assert kept is not None
        base = tree(repository.head().config.base_tree)
        assert tree(kept.tree)[name] == base[name]


def test_a_tree_is_recognised_by_what_an_engine_can_have(apart: Path, start: Starter) -> None:
    with Repository.open(apart) as repository:
        first = start()
        first.answer()
        go(repository, first, "polite", keep_head=True)
        repository.engines.forget("chat")
        with first.connect() as connection:
            found = check(repository, connection, "main", CREW)
        assert found.held is not None
        assert found.held[0] == "polite"
        assert found.nbytes < repository.store.tree(found.tree).nbytes
        assert go(repository, first, "main").rescue is None
