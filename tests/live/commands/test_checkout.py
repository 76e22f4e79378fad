"""Checking revisions out into an engine, and committing from it: what comes, what is refused."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import pvc
from pvc.live.client.connection import RefusedError
from pvc.live.client.model_check import OtherModelError
from pvc.live.client.updating import DriftedEngineError
from pvc.live.commands import status as status_module
from pvc.live.commands.engine_content import TornEngineError, UnknownWeightsError, identity, is_kept
from pvc.live.protocol.engine_state import OtherRepositoryError
from pvc.repo.build.build_cache import BuiltTrees
from pvc.repo.commands.checkout import checkout
from pvc.repo.commands.checkout_directory import DirectoryTarget
from pvc.repo.commands.commit import Wish, commit
from pvc.repo.commands.commit_origin import OtherTreeError, Told
from pvc.repo.commands.commit_source import CheckpointSource
from pvc.repo.commands.fsck import fsck
from pvc.repo.commands.origin_choice import UnknownOriginError
from pvc.repo.commands.status import status as repository_status
from pvc.repo.history.recording import NothingChangedError
from pvc.repo.repository import EditedError, Repository
from tests.live.conftest import CREW
from tests.repo.conftest import git_config, memory, plain_git, tmp_path  # noqa: F401
from tests.support.engine_process import make, save
from tests.support.engines import Engine, create, go, held, keep, look, outputs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.live.conftest import EngineProcess, Starter

THREE = ["down.weight", "turned", "up.bias"]

pytestmark = pytest.mark.usefixtures("plain_git")


@pytest.fixture(scope="module")
def base(memory: Path) -> Path:  # noqa: F811
    """The checkpoint of the tiny model that every engine starts with."""
    save(make("tiny"), memory / "tiny")
    return memory / "tiny"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine may take its time to answer."""
    monkeypatch.setattr(status_module, "PATIENCE_SECONDS", 60.0)


@pytest.fixture
def repository(base: Path, tmp_path: Path) -> Iterator[Repository]:  # noqa: F811
    with Repository.open(create(tmp_path / "work", base)) as opened:
        yield opened


def test_train_commit_roll_back_and_forward(
    repository: Repository,
    engine: EngineProcess,
    start: Starter,
    tmp_path: Path,  # noqa: F811
) -> None:
    """The story; the outputs are those of a process that starts with `checkout --to`."""
    before = outputs(engine, tmp_path)
    assert look(repository, engine).condition == "new"
    engine.ask("train")
    done = keep(repository, engine, "listening")
    assert done.clean
    assert (done.action, done.origin_text, str(done.personality)) == (
        "captured", "base", "base + listening",
    )  # fmt: skip
    assert held(engine, repository) == done.vector.to_tree
    seen = look(repository, engine)
    assert (seen.condition, seen.revision, seen.is_head) == ("clean", "listening", True)
    assert seen.tree == done.vector.to_tree
    after = outputs(engine, tmp_path)

    back = go(repository, engine, "HEAD~1")
    assert (back.head_moved, back.rescue) == (True, None)
    assert repository.git.branch() is None
    assert np.array_equal(outputs(engine, tmp_path), before)
    assert held(engine, repository) == repository.head().config.base_tree

    again = go(repository, engine, "main")
    assert repository.git.branch() == "main"
    assert again.written_bytes == back.written_bytes > 0
    assert np.array_equal(outputs(engine, tmp_path), after)
    checkout(repository, "main", DirectoryTarget(tmp_path / "out"), keep_head=True, crew=CREW)
    fresh = start(f"tiny:{tmp_path / 'out'}", name="fresh")
    fresh.answer()
    assert np.abs(outputs(fresh, tmp_path) - after).max() == 0.0
    assert fsck(repository, CREW).findings == ()


def test_weights_that_stand_apart_are_none_of_an_engine(
    base: Path,
    engine: EngineProcess,
    tmp_path: Path,  # noqa: F811
) -> None:
    """The tree has them, before and after; the engine is brought to the others."""
    whole = tmp_path / "whole"
    shutil.copytree(base, whole)
    (whole / "2_Dense").mkdir()
    file = whole / "2_Dense" / "model.safetensors"
    save_file({"w": np.ones(4, np.float32)}, file)
    name = "2_Dense/model.safetensors/w"
    with Repository.open(create(tmp_path / "whole-work", whole)) as repository:
        save_file({"w": np.zeros(4, np.float32)}, file)
        commit(repository, Wish("dense"), CheckpointSource(whole), CREW)
        assert go(repository, engine, "dense").written_bytes == 0
        engine.ask("train")
        done = keep(repository, engine, "listening")
        assert done.origin_text == "dense"
        trained = repository.store.tree(done.vector.to_tree)
        assert trained[name] == repository.store.tree(done.vector.from_tree)[name]
        assert go(repository, engine, "base", keep_head=True).written_bytes > 0
        assert held(engine, repository) is not None
        target = DirectoryTarget(tmp_path / "out")
        checkout(repository, "main", target, keep_head=True, crew=CREW)
        assert (tmp_path / "out" / "2_Dense" / "model.safetensors").read_bytes() == (
            file.read_bytes()
        )
        assert fsck(repository, CREW).findings == ()


def test_a_second_commit_extends(repository: Repository, engine: EngineProcess) -> None:
    engine.ask("train")
    first = keep(repository, engine, "listening")
    engine.ask("train")
    assert look(repository, engine).condition == "drifted"
    second = keep(repository, engine, "listening")
    assert second.action == "extended"
    assert (second.vector.from_tree, second.vector.to_tree != first.vector.to_tree) == (
        first.vector.from_tree, True,
    )  # fmt: skip
    with pytest.raises(NothingChangedError):
        keep(repository, engine, "more")


def test_an_engine_that_pvc_never_wrote_to(
    repository: Repository,
    engine: EngineProcess,
    base: Path,
    tmp_path: Path,  # noqa: F811
) -> None:
    """It may have started with the base or with HEAD: only its elements could tell."""
    tensors = load_file(base / "model.safetensors")
    random = np.random.default_rng(0)
    for name, numbers in tensors.items():
        noise = 1e-3 * random.standard_normal(numbers.shape)
        tensors[name] = np.asarray(numbers + noise, numbers.dtype)
    shutil.copytree(base, tmp_path / "out")
    save_file(tensors, tmp_path / "out" / "model.safetensors", {"format": "pt"})
    source = CheckpointSource(tmp_path / "out")
    assert commit(repository, Wish("listening"), source, CREW).told is Told.ONLY
    engine.ask("train")
    with pytest.raises(UnknownOriginError) as caught:
        keep(repository, engine, "polite")
    assert [one.onto for one in caught.value.readings] == ["base", "HEAD"]
    assert [one.is_source for one in caught.value.readings] == [False, True]
    done = keep(repository, engine, "polite", aside=True)
    assert (done.told, done.origin_text, done.is_result) == (Told.ASIDE, "base", None)
    said = keep(repository, engine, "polite", onto="base")
    assert (said.told, said.is_result) == (Told.USER, False)


def test_drift_is_named_committed_and_checked_out_elsewhere(
    repository: Repository,
    engine: EngineProcess,
    start: Starter,
    tmp_path: Path,  # noqa: F811
) -> None:
    go(repository, engine, "main")
    engine.ask("poke", names=THREE)
    seen = look(repository, engine)
    assert (seen.condition, seen.revision) == ("drifted", "main")
    assert sorted(seen.touched) == THREE
    with pytest.raises(DriftedEngineError) as caught:
        go(repository, engine, "base")
    assert list(caught.value.names) == THREE
    done = keep(repository, engine, "drift")
    assert done.vector.statistics.changed_tensors == 3
    other = start(name="other")
    other.answer()
    go(repository, other, "main")
    assert held(other, repository) == done.vector.to_tree == held(engine, repository)
    assert np.array_equal(outputs(other, tmp_path), outputs(engine, tmp_path))


@pytest.mark.parametrize("silently", [False, True])
def test_force_keeps_what_was_there(
    repository: Repository, engine: EngineProcess, silently: bool
) -> None:
    go(repository, engine, "main")
    engine.ask("poke", names=THREE, silently=silently)
    drifted = held(engine, repository)
    done = go(repository, engine, "main", force=True)
    assert done.rescue is not None
    assert done.rescue.tree == drifted
    assert held(engine, repository) == repository.head().config.base_tree
    assert look(repository, engine).condition == "clean"
    assert done.rescue.tag in dict(repository.git.tags())
    back = go(repository, engine, done.rescue.tag)
    assert str(back.revision.state.personality) == f"base + {done.rescue.vector}"
    assert held(engine, repository) == drifted
    assert go(repository, engine, "main").rescue is None
    go(repository, engine, done.rescue.tag, keep_head=True)
    named = keep(repository, engine, "drift", aside=True, onto="main")
    assert (named.vector.to_tree, named.vector.statistics.changed_tensors) == (drifted, 3)
    assert fsck(repository, CREW).findings == ()


def serve(repository: Repository, text: str, directory: Path, start: Starter) -> EngineProcess:
    """An engine of its own, started from a directory that is checked out first."""
    checkout(repository, text, DirectoryTarget(directory), keep_head=True, crew=CREW)
    served = start(f"tiny:{directory}", name="served")
    served.answer()
    return served


def test_a_server_of_a_directory_that_was_checked_out_is_recognised(
    repository: Repository,
    engine: EngineProcess,
    start: Starter,
    tmp_path: Path,  # noqa: F811
) -> None:
    engine.ask("train")
    keep(repository, engine, "listening")
    served = serve(repository, "main", tmp_path / "out", start)
    assert go(repository, served, "base").rescue is None
    assert held(served, repository) == repository.head().config.base_tree


def test_a_server_of_a_directory_whose_tree_was_computed(
    repository: Repository,
    engine: EngineProcess,
    start: Starter,
    tmp_path: Path,  # noqa: F811
) -> None:
    """It was not stored: it is known, and computed again when it is to be written."""
    engine.ask("train")
    keep(repository, engine, "listening")
    half, packs = "base + 0.5*listening", repository.store.packs.ids()
    served = serve(repository, half, tmp_path / "out", start)
    before = outputs(served, tmp_path)
    assert go(repository, served, half).written_bytes == 0
    assert repository.store.packs.ids() == packs
    assert go(repository, served, "base").rescue is None
    assert go(repository, served, half).written_bytes > 0
    assert np.array_equal(outputs(served, tmp_path), before)
    (built,) = BuiltTrees(repository.folder).all()
    BuiltTrees(repository.folder).forget(built.digest)
    assert is_kept(repository, built.tree)  # its blocks are stored by now
    for pack in built.packs:
        (repository.folder / "packs" / pack.hex()[:2] / f"{pack.hex()}.pack").unlink()
    with Repository.open(repository.root) as again:
        assert not is_kept(again, built.tree)
        with pytest.raises(UnknownWeightsError):
            go(again, served, "base")


def test_a_restarted_engine(repository: Repository, engine: EngineProcess, start: Starter) -> None:
    engine.ask("train")
    keep(repository, engine, "listening")
    engine.kill()
    gone = look(repository, engine)
    assert (gone.condition, gone.revision, gone.is_head) == ("gone", "listening", True)
    again = start()
    again.answer()
    seen = look(repository, again)
    assert (seen.condition, seen.revision, seen.is_head) == ("restarted", "listening", False)
    go(repository, again, "main")
    assert look(repository, again).condition == "clean"
    again.ask("train")
    assert keep(repository, again, "more").origin_text == "main"


def test_weights_that_nobody_knows(repository: Repository, engine: EngineProcess) -> None:
    """An engine that trained before anything was checked out into it."""
    engine.ask("poke", names=THREE)
    with pytest.raises(UnknownWeightsError) as caught:
        go(repository, engine, "main")
    assert (sorted(caught.value.names), caught.value.nearest) == (THREE, "the base")
    assert go(repository, engine, "main", force=True).rescue is not None


def test_two_repositories(
    repository: Repository,
    engine: EngineProcess,
    base: Path,
    tmp_path: Path,  # noqa: F811
) -> None:
    go(repository, engine, "main")
    with Repository.open(create(tmp_path / "other", base)) as other:
        seen = look(other, engine)
        assert (seen.condition, seen.detail) == ("foreign", identity(repository))
        with pytest.raises(OtherRepositoryError):
            go(other, engine, "main")
        engine.ask("train")
        with pytest.raises(OtherRepositoryError):
            keep(other, engine, "mine")
        aside = keep(other, engine, "mine", aside=True)
        assert not aside.clean
        assert look(repository, engine).condition == "drifted"
        taken = go(other, engine, "mine", force=True)
        assert taken.rescue is None  # it was committed
        assert look(other, engine).condition == "clean"
    assert look(repository, engine).condition == "foreign"


def test_another_model(repository: Repository, start: Starter) -> None:
    engine = start("other")
    engine.answer()
    for act in (go, keep):
        with pytest.raises(OtherModelError):
            act(repository, engine, "base" if act is go else "mine")
    assert look(repository, engine).condition == "other"


@pytest.mark.parametrize("kinds", [("half", "tiny"), ("tiny", "half")])
def test_an_engine_of_another_precision(
    start: Starter,
    tmp_path: Path,  # noqa: F811
    kinds: tuple[str, str],
) -> None:
    """float32 of a bfloat16 base, and the other way round: its bytes are no blocks of the tree."""
    save(make(kinds[0]), tmp_path / "base")
    engine = start(kinds[1])
    engine.answer()
    before = outputs(engine, tmp_path)
    with Repository.open(create(tmp_path / "work", tmp_path / "base")) as repository:
        for act in (go, keep):
            with pytest.raises(OtherModelError, match=r"is (F32|BF16) .* in the engine and (B?F)"):
                act(repository, engine, "base" if act is go else "mine")
        assert look(repository, engine).condition == "other"
    assert np.array_equal(outputs(engine, tmp_path), before)


def test_an_engine_whose_model_left(
    repository: Repository,
    tmp_path: Path,  # noqa: F811
) -> None:
    """It computes with other weights than those that could be read and written."""
    model, folder = make("tiny"), tmp_path / "engines"
    with pvc.share(model, "chat", folder=folder):
        here = Engine("chat", folder)
        go(repository, here, "main")
        model.double()
        for act in (go, keep):
            with pytest.raises(RefusedError, match="is not the one that was shared"):
                act(repository, here, "main" if act is go else "mine")
        seen = look(repository, here)
        assert seen.condition == "unreachable"
        assert "is not the one that was shared" in str(seen.detail)


def test_an_engine_that_holds_another_tree_than_heads(
    repository: Repository, engine: EngineProcess
) -> None:
    engine.ask("train")
    keep(repository, engine, "listening")
    go(repository, engine, "base")
    seen = look(repository, engine)
    assert (seen.condition, seen.revision, seen.is_head) == ("clean", "base", False)
    engine.ask("train")
    with pytest.raises(OtherTreeError, match="the engine chat is base"):
        keep(repository, engine, "other")
    done = keep(repository, engine, "other", aside=True)
    assert (done.origin_text, done.applied) == ("base", False)
    assert look(repository, engine).condition == "clean"


def test_a_torn_engine_is_repaired_by_the_next_checkout(
    repository: Repository,
    tmp_path: Path,  # noqa: F811
) -> None:
    """As if its cache could not be reset after the weights were written."""
    fails = [True]

    def committed(_: object) -> None:
        if fails[0]:
            raise RuntimeError("the cache was not reset")

    folder = tmp_path / "engines"
    with pvc.share(make("tiny"), "chat", committed=committed, folder=folder) as shared:
        here = Engine("chat", folder)
        with pytest.raises(RefusedError, match="the cache was not reset"):
            go(repository, here, "main")
        assert not repository_status(repository).interrupted
        seen = look(repository, here)
        assert (seen.condition, seen.detail) == ("torn", "the cache was not reset")
        with pytest.raises(TornEngineError):
            keep(repository, here, "torn")
        fails[0] = False
        assert go(repository, here, "main").rescue is None
        assert look(repository, here).condition == "clean"
        assert shared.state.torn is None


@pytest.mark.gpu
def test_on_a_gpu(repository: Repository, start: Starter, tmp_path: Path) -> None:  # noqa: F811
    """The story once more; what is written and read lies on the device."""
    engine = start("tiny@cuda")
    engine.answer()
    before = outputs(engine, tmp_path)
    engine.ask("train")
    after = outputs(engine, tmp_path)
    done = keep(repository, engine, "listening")
    assert done.clean
    go(repository, engine, "HEAD~1")
    assert np.array_equal(outputs(engine, tmp_path), before)
    go(repository, engine, "main")
    assert np.array_equal(outputs(engine, tmp_path), after)
    engine.ask("poke", names=THREE)
    with pytest.raises(DriftedEngineError) as caught:
        go(repository, engine, "base")
    assert list(caught.value.names) == THREE
    drifted = held(engine, repository)
    rescue = go(repository, engine, "base", force=True).rescue
    assert rescue is not None
    go(repository, engine, rescue.tag)
    assert held(engine, repository) == drifted == rescue.tree
    assert look(repository, engine).condition == "clean"


def test_edits_are_in_the_way_before_anything_is_written(
    repository: Repository, engine: EngineProcess
) -> None:
    (repository.root / "personality.toml").write_text("# mine\n")
    for act in (go, keep):
        with pytest.raises(EditedError):
            act(repository, engine, "HEAD" if act is go else "mine")
    assert look(repository, engine).condition == "new"
    assert go(repository, engine, "HEAD", keep_head=True).head_moved is False
