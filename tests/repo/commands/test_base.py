"""What becomes of the directory that the base was read from is of no consequence, or is said."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pvc.repo.commands.checkout import checkout
from pvc.repo.commands.checkout_directory import DirectoryTarget
from pvc.repo.commands.commit import Wish, commit
from pvc.repo.commands.commit_source import CheckpointSource
from pvc.repo.commands.fsck import fsck
from pvc.repo.commands.init import initialise
from pvc.repo.commands.status import status
from pvc.repo.repository import Repository
from pvc.repo.trees.blocks import MissingBaseError
from pvc_store.ids import block_key
from tests.repo.conftest import CREW
from tests.support import models

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.models import Model

EMBED = "model.embed_tokens.weight"


def overwrite(base: Path, elsewhere: Path) -> None:
    """What a trainer does that saves into the model's own folder."""
    models.save(base, models.tuned(models.model(), 99))


def truncate(base: Path, elsewhere: Path) -> None:
    file = base / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100_000])


def delete(base: Path, elsewhere: Path) -> None:
    shutil.rmtree(base)


def move(base: Path, elsewhere: Path) -> None:
    base.rename(elsewhere)


def replace(base: Path, elsewhere: Path) -> None:
    shutil.rmtree(base)
    models.save(base, models.model(7, "F16", {"other.weight": (3, 3)}), shards=1)


def hide(base: Path, elsewhere: Path) -> None:
    """A file lies where the directory was."""
    base.rename(elsewhere)
    base.write_bytes(b"")


ACCIDENTS = pytest.mark.parametrize(
    "accident", [overwrite, truncate, delete, move, replace, hide], ids=lambda done: done.__name__
)


@pytest.fixture
def own_base(tmp_path: Path, base_model: Model) -> Path:
    return models.save(tmp_path / "own", base_model)


@pytest.fixture
def by_value(tmp_path: Path, own_base: Path) -> Iterator[Repository]:
    yield from prepared(tmp_path, own_base, by_value=True)


@pytest.fixture
def by_reference(tmp_path: Path, own_base: Path) -> Iterator[Repository]:
    yield from prepared(tmp_path, own_base, by_value=False)


def prepared(top: Path, base: Path, *, by_value: bool) -> Iterator[Repository]:
    (top / "work").mkdir()
    initialise(top / "work", base, by_value=by_value, crew=CREW)
    source = models.save(top / "new", models.tuned(models.model(), 1))
    with Repository.open(top / "work") as repository:
        commit(repository, Wish("listening"), CheckpointSource(source), CREW)
        yield repository


@ACCIDENTS
def test_base_by_value_is_safe(
    by_value: Repository,
    own_base: Path,
    base_model: Model,
    tmp_path: Path,
    accident: Callable[[Path, Path], None],
) -> None:
    kept = models.contents(own_base)
    accident(own_base, tmp_path / "elsewhere")
    checkout(by_value, "base", DirectoryTarget(tmp_path / "base-out"), keep_head=True, crew=CREW)
    assert models.contents(tmp_path / "base-out") == kept
    checkout(by_value, "HEAD", DirectoryTarget(tmp_path / "out"), keep_head=True, crew=CREW)
    assert models.contents(tmp_path / "out") == models.contents(tmp_path / "new")
    more = models.save(tmp_path / "more", models.tuned(base_model, 2))
    commit(by_value, Wish("suggesting", aside=True, onto="base"), CheckpointSource(more), CREW)
    assert fsck(by_value, CREW).findings == ()


@ACCIDENTS
def test_base_by_reference_is_missed_and_named(
    by_reference: Repository,
    own_base: Path,
    tmp_path: Path,
    accident: Callable[[Path, Path], None],
) -> None:
    kept = models.contents(own_base)
    out = tmp_path / "out"
    checkout(by_reference, "base", DirectoryTarget(out), keep_head=True, crew=CREW)
    checkout(by_reference, "HEAD", DirectoryTarget(out), keep_head=True, crew=CREW)
    accident(own_base, tmp_path / "elsewhere")
    before = models.contents(out)
    for name in ("base", "HEAD~1", "main"):
        with pytest.raises(MissingBaseError) as caught:
            checkout(
                by_reference, name, DirectoryTarget(tmp_path / "other"), keep_head=True, crew=CREW
            )
        assert caught.value.name in models.SHAPES
        assert caught.value.directory == own_base
        assert not (tmp_path / "other").exists()
    with pytest.raises(MissingBaseError):
        checkout(by_reference, "base", DirectoryTarget(out), keep_head=False, crew=CREW)
    assert models.contents(out) == before
    (found,) = [each for each in fsck(by_reference, CREW).findings if each.what == "base"]
    assert found.name == str(own_base)
    assert "the base" in found.dependents
    assert any(name.startswith("listening at") for name in found.dependents)
    if own_base.is_dir():
        shutil.rmtree(own_base)
    own_base.unlink(missing_ok=True)
    for path, data in kept.items():
        (own_base / path).parent.mkdir(parents=True, exist_ok=True)
        (own_base / path).write_bytes(data)
    checkout(by_reference, "base", DirectoryTarget(out), keep_head=False, crew=CREW)
    assert models.contents(out) == kept
    assert fsck(by_reference, CREW).findings == ()


def test_training_over_a_base_by_reference_is_refused(
    by_reference: Repository, own_base: Path, base_model: Model
) -> None:
    models.save(own_base, models.tuned(base_model, 5))
    with pytest.raises(MissingBaseError):
        commit(by_reference, Wish("late", aside=True), CheckpointSource(own_base), CREW)
    assert by_reference.head().names == ("listening",)


def test_training_over_a_base_by_value_is_a_result(
    by_value: Repository, own_base: Path, base_model: Model, tmp_path: Path
) -> None:
    models.save(own_base, models.tuned(base_model, 5))
    commit(by_value, Wish("late", aside=True, onto="base"), CheckpointSource(own_base), CREW)
    checkout(by_value, "late", DirectoryTarget(tmp_path / "out"), keep_head=True, crew=CREW)
    assert models.contents(tmp_path / "out") == models.contents(own_base)


def test_a_base_that_is_lost_while_it_is_read(by_value: Repository, own_base: Path) -> None:
    """Its files serve as long as they last, then the store does."""
    config = by_value.head().config
    tensor = by_value.store.tree(config.base_tree)[EMBED]
    with by_value.blocks(config) as blocks:
        for index, accident in enumerate((lambda *_: None, truncate)):
            accident(own_base, own_base)
            out = np.empty(tensor.block_length(index), np.uint8)
            blocks.read(tensor, index, out)
            assert block_key(out.data) == tensor.key(index)


def test_a_lost_base_cannot_cost_what_a_target_holds(
    by_reference: Repository, own_base: Path, base_model: Model, tmp_path: Path
) -> None:
    """Some blocks of the next state need no base: none is written before all have been read."""
    q = "model.layers.0.self_attn.q_proj.weight"
    fresh = models.tuned(base_model, 3) | {q: models.model(8)[q]}
    commit(
        by_reference,
        Wish("fresh", "base", True),
        CheckpointSource(models.save(tmp_path / "fresh", fresh)),
        CREW,
    )
    out = tmp_path / "out"
    checkout(by_reference, "base", DirectoryTarget(out), keep_head=True, crew=CREW)
    held = models.contents(out)
    shutil.rmtree(own_base)
    with pytest.raises(MissingBaseError):
        checkout(by_reference, "fresh", DirectoryTarget(out), keep_head=True, crew=CREW)
    assert models.contents(out) == held
    assert status(by_reference).targets[0].state == "clean"


@pytest.mark.parametrize("by_value", [True, False])
def test_a_block_that_moved_within_the_base(tmp_path: Path, by_value: bool) -> None:
    """Its content is another base block's: it stays one, and can be the base of others."""
    shapes = {"a.weight": (64, 64), "b.weight": (64, 64), "c.weight": (8,)}
    start = models.model(shapes=shapes)
    swapped = start | {"b.weight": start["a.weight"]}
    base = models.save(tmp_path / "base", start)
    (tmp_path / "work").mkdir()
    initialise(tmp_path / "work", base, by_value=by_value, crew=CREW)
    with Repository.open(tmp_path / "work") as repository:
        for name, after in (("swapped", swapped), ("tuned", models.tuned(start, 1))):
            source = models.save(tmp_path / name, after)
            commit(repository, Wish(name, "base", aside=True), CheckpointSource(source), CREW)
            checkout(
                repository,
                name,
                DirectoryTarget(tmp_path / f"{name}-out"),
                keep_head=True,
                crew=CREW,
            )
            assert models.contents(tmp_path / f"{name}-out") == models.contents(source)
        assert models.captured(repository.head(), "swapped").statistics.stored_bytes == 0
        assert fsck(repository, CREW).findings == ()
