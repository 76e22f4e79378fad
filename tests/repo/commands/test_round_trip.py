"""What was committed comes back byte for byte, whatever it is."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvc.codec import block as block_module
from pvc.parallel import Crew
from pvc.repo.commands.checkout import checkout
from pvc.repo.commands.checkout_directory import DirectoryTarget
from pvc.repo.commands.commit import Wish, commit
from pvc.repo.commands.commit_source import CheckpointSource
from pvc.repo.commands.fsck import fsck
from pvc.repo.commands.init import initialise
from pvc.repo.commands.same_weights import SameWeightsError
from pvc.repo.history.recording import NothingChangedError
from pvc.repo.repository import Repository
from pvc.repo.targets import directory
from pvc.repo.targets.directory import Content
from pvc.repo.targets.open_directory import OpenDirectory
from pvc.repo.trees import blocks as blocks_module
from pvc.repo.trees import capture as capture_module
from pvc.repo.trees.blocks import BaseFiles, Blocks
from pvc.repo.trees.capture import CaptureOptions, capture
from pvc.repo.trees.put_block import CollisionError
from pvc.weights.checkpoint import Checkpoint
from pvc.weights.fingerprint import stamp_now
from pvc_store.block import BLOCK_BYTES
from pvc_store.ids import block_key, object_id
from pvc_store.memory import MemoryStore
from pvc_store.tree import Tree
from tests.repo.conftest import CREW
from tests.support import models
from tests.support.strategies import Saved, histories

if TYPE_CHECKING:
    from tests.support.models import Model


def stored(store: MemoryStore, source: Path, base: Tree, threads: int = 2) -> Content:
    """Capture a checkpoint."""
    with store.writing() as writing, Blocks(writing, base, BaseFiles(None)) as blocks:
        goal = CaptureOptions(base or None)
        captured = capture(Checkpoint.open(source), blocks, writing, goal, Crew(threads))
        writing.put_tree(captured.tree)
        writing.put_layout(captured.layout)
    return Content(store.tree(captured.tree.id), store.layout(captured.layout.id))


@given(history=histories())
def test_any_checkpoint_comes_back(history: list[Saved]) -> None:
    store = MemoryStore()
    with tempfile.TemporaryDirectory() as folder:
        base: Tree = Tree([])
        contents: list[Content] = []
        for number, each in enumerate(history):
            source = Path(folder) / str(number)
            source.mkdir()
            contents.append(stored(store, each.write(source), base))
            base = contents[0].tree
        target = Path(folder) / "target"
        target.mkdir()
        with Blocks(store, base, BaseFiles(None)) as blocks, OpenDirectory(target) as inside:
            directory.create(inside, contents[0], blocks, CREW)
            assert models.contents(target) == history[0].files
            at = 0
            for to in (1, 2, 0, 2, 1):
                directory.update(inside, contents[at], contents[to], blocks, CREW)
                assert models.contents(target) == history[to].files
                at = to


@settings(max_examples=6)
@given(history=histories(), by_value=st.booleans())
def test_any_history_can_be_checked_out(history: list[Saved], by_value: bool) -> None:
    base, *results = history
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder).resolve()
        for number, each in enumerate(history):
            (top / str(number)).mkdir()
            each.write(top / str(number))
        (top / "work").mkdir()
        initialise(top / "work", top / "0", by_value=by_value, crew=CREW)
        states = {"HEAD": base.files}
        with Repository.open(top / "work") as repository:
            for number, each in enumerate(results, 1):
                wish = Wish(f"v{number}", onto="HEAD", message="", allow_nonfinite=True)
                source = CheckpointSource(top / str(number))
                try:
                    states[commit(repository, wish, source, CREW).commit] = each.files
                except (NothingChangedError, SameWeightsError):
                    continue
            out = top / "out"
            for revision in [*states, *reversed(states)]:
                checkout(repository, revision, DirectoryTarget(out), keep_head=True, crew=CREW)
                if revision != "HEAD":
                    assert models.contents(out) == states[revision]
            checkout(repository, "base", DirectoryTarget(out), keep_head=False, crew=CREW)
            assert models.contents(out) == base.files
            assert fsck(repository, CREW).findings == ()


def test_chain_and_rollback_in_place(
    repository: Repository, base_model: Model, base: Path, tmp_path: Path
) -> None:
    first = models.tuned(base_model, 1)
    second = models.tuned(first, 2, names=["model.norm.weight"])
    one, two = models.save(tmp_path / "one", first), models.save(tmp_path / "two", second, shards=3)
    commit(repository, Wish("listening"), CheckpointSource(one), CREW)
    commit(repository, Wish("suggesting", onto="HEAD"), CheckpointSource(two), CREW)
    out = tmp_path / "out"
    assert checkout(repository, "HEAD", DirectoryTarget(out), keep_head=False, crew=CREW).created
    assert models.contents(out) == models.contents(two)
    rollback = checkout(repository, "HEAD~1", DirectoryTarget(), keep_head=False, crew=CREW)
    assert rollback.head_moved
    assert rollback.directory == out
    assert models.contents(out) == models.contents(one)
    checkout(repository, "base", DirectoryTarget(), keep_head=False, crew=CREW)
    assert models.contents(out) == models.contents(base)
    checkout(repository, "main", DirectoryTarget(), keep_head=False, crew=CREW)
    assert models.contents(out) == models.contents(two)


def test_only_what_differs_is_written(
    repository: Repository, base_model: Model, tmp_path: Path
) -> None:
    after = models.tuned(base_model, 1, names=["model.norm.weight"])
    commit(repository, Wish("small"), CheckpointSource(models.save(tmp_path / "new", after)), CREW)
    out = tmp_path / "out"
    checkout(repository, "base", DirectoryTarget(out), keep_head=True, crew=CREW)
    before = stamp_now(out / "config.json"), (out / "model.safetensors").stat()
    written = checkout(
        repository, "HEAD", DirectoryTarget(out), keep_head=True, crew=CREW
    ).written_bytes
    assert written == len(after["model.norm.weight"].data)
    assert stamp_now(out / "config.json") == before[0]
    assert (out / "model.safetensors").stat().st_ino == before[1].st_ino


def test_trained_in_place_and_extended(
    repository: Repository, base_model: Model, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    checkout(repository, "HEAD", DirectoryTarget(out), keep_head=False, crew=CREW)
    first = models.tuned(base_model, 1)
    models.save(out, first)
    assert commit(repository, Wish("listening"), CheckpointSource(out), CREW).action == "captured"
    once = models.contents(out)
    models.save(out, models.tuned(first, 2))
    done = commit(repository, Wish("listening"), CheckpointSource(out), CREW)
    assert done.action == "extended"
    assert done.vector.from_tree == repository.head().config.base_tree
    twice = models.contents(out)
    checkout(repository, "HEAD~1", DirectoryTarget(), keep_head=False, crew=CREW)
    assert models.contents(out) == once
    checkout(repository, "main", DirectoryTarget(), keep_head=False, crew=CREW)
    assert models.contents(out) == twice


@pytest.mark.parametrize("changed", range(8))
def test_any_blocks_of_a_tensor_may_change(tmp_path: Path, changed: int) -> None:
    """Its digest is that of its bytes, whichever of them were read from the base."""
    random = np.random.default_rng(1)
    size = 2 * BLOCK_BYTES + 4000
    old = random.integers(0, 256, size, np.uint8)
    new = old.copy()
    for index in (each for each in range(3) if changed >> each & 1):
        new[index * BLOCK_BYTES + 77] ^= 1
    store = MemoryStore()
    base = one_tensor(store, tmp_path / "base", old.tobytes(), Tree([])).tree
    content = one_tensor(store, tmp_path / "new", new.tobytes(), base)
    with Blocks(store, base, BaseFiles(None)) as blocks:
        (tmp_path / "out").mkdir()
        with OpenDirectory(tmp_path / "out") as inside:
            directory.create(inside, content, blocks, CREW)
    assert models.contents(tmp_path / "out") == models.contents(tmp_path / "new")


def one_tensor(store: MemoryStore, source: Path, data: bytes, base: Tree) -> Content:
    """Capture one tensor; its digest and keys are those of its bytes."""
    models.save(source, {"w": models.Raw("BF16", (len(data) // 2,), data)}, files={})
    content = stored(store, source, base)
    (tensor,) = content.tree.values()
    assert tensor.digest == object_id(data)
    blocks = [data[at : at + BLOCK_BYTES] for at in range(0, len(data), BLOCK_BYTES)]
    assert tensor.keys == b"".join(map(block_key, blocks))
    return content


def test_blocks_of_one_key_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a hash that is good for nothing, two different blocks meet."""
    for module in (capture_module, blocks_module, block_module):
        monkeypatch.setattr(module, "block_key", lambda data: bytes(data)[:1] * 16)
    start = models.Raw("U8", (4,), b"aaaa")
    same = models.save(tmp_path / "same", {"v": start, "w": start}, files={})
    store = MemoryStore()
    assert len(stored(store, same, Tree([])).tree) == 2
    other = models.Raw("U8", (4,), b"aaab")
    different = models.save(tmp_path / "different", {"v": other, "w": start}, files={})
    with pytest.raises(CollisionError):
        stored(store, different, Tree([]))


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F8_E4M3"])
def test_full_precision_over_a_narrow_base(dtype: str, tmp_path: Path) -> None:
    """A master in fp32 over a narrower base: tau keeps what rounding would lose."""
    narrow, other = (
        (float8_model(5), float8_model(6))
        if dtype == "F8_E4M3"
        else (models.model(5, dtype), models.model(6, dtype))
    )
    master = models.tuned(models.widened(narrow), 1, step=1e-6)
    base, new = models.save(tmp_path / "base", narrow), models.save(tmp_path / "new", master)
    third = models.save(tmp_path / "third", other)
    (tmp_path / "work").mkdir()
    initialise(tmp_path / "work", base, by_value=True, crew=CREW)
    out = tmp_path / "out"
    with Repository.open(tmp_path / "work") as repository:
        done = commit(repository, Wish("fine"), CheckpointSource(new), CREW)
        assert done.vector.statistics.amount.changed_share > 0.5
        checkout(repository, "HEAD", DirectoryTarget(out), keep_head=True, crew=CREW)
        assert models.contents(out) == models.contents(new)
        # and back to the narrow type, measured from the wide one, and in place
        commit(repository, Wish("coarse", onto="HEAD"), CheckpointSource(third), CREW)
        checkout(repository, "HEAD", DirectoryTarget(out), keep_head=True, crew=CREW)
        assert models.contents(out) == models.contents(third)
        assert fsck(repository, CREW).findings == ()


def float8_model(seed: int) -> Model:
    random = np.random.default_rng(seed)
    shapes = {"weight": (1100, 1024), "more": (16, 16)}
    draws = {name: random.integers(0, 0x7F, shape) for name, shape in shapes.items()}
    return {
        name: models.Raw("F8_E4M3", tuple(bits.shape), bits.astype(np.uint8).tobytes())
        for name, bits in draws.items()
    }
