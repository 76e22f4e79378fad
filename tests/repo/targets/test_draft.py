"""Directories that are begun while their tree is still being computed."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pvc.parallel import Crew
from pvc.repo.commands.build import build
from pvc.repo.commands.checkout import checkout
from pvc.repo.commands.checkout_directory import DirectoryTarget, ForeignDirectoryError
from pvc.repo.commands.fsck import fsck
from pvc.repo.commands.status import status
from pvc.repo.targets import directory as directory_module
from pvc.repo.targets.directory import NoSpaceError
from pvc.repo.targets.draft import Draft
from pvc.repo.targets.open_directory import OpenDirectory
from pvc.repo.targets.write_and_verify import VerificationError
from pvc.repo.trees.blocks import Blocks
from pvc_store import atomic
from pvc_store.block import BLOCK_BYTES
from tests.support import models

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from pvc.repo.repository import Repository
    from pvc.repo.targets.weights_file import Stretch
    from pvc.weights.fingerprint import Fingerprint
    from pvc_store.tree import Tensor

CREW = Crew(threads=2)
SUM = "base + 0.5*listening"


def go(repository: Repository, text: str, to: Path) -> Path:
    checkout(repository, text, DirectoryTarget(to), keep_head=True, crew=CREW)
    return to


def test_the_same_files_as_from_a_stored_tree(made: Repository, tmp_path: Path) -> None:
    packs = made.store.packs.ids()
    drafted = models.contents(go(made, SUM, tmp_path / "drafted"))
    assert made.store.packs.ids() == packs
    assert build(made, SUM, CREW).computed
    assert not build(made, SUM, CREW).computed
    assert models.contents(go(made, SUM, tmp_path / "stored")) == drafted
    go(made, "main", tmp_path / "patched")
    assert models.contents(go(made, SUM, tmp_path / "patched")) == drafted
    assert not fsck(made, CREW).findings


def test_computed_blocks_are_in_place_before_the_tree_is_known(
    made: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[dict[str, bytes]] = []
    create = directory_module.create

    def look(directory: OpenDirectory, *arguments: object) -> Fingerprint:
        found.append(models.contents(directory.path))
        return create(directory, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(directory_module, "create", look)
    done = models.contents(go(made, SUM, tmp_path / "out"))
    weights = {name: data for name, data in done.items() if name.endswith(".safetensors")}
    assert found == [weights]


def test_a_block_that_did_not_arrive_is_noticed(
    made: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put: Callable[[Draft, str, int, NDArray[np.uint8]], None] = Draft.put

    def forgetful(draft: Draft, tensor: str, index: int, raw: NDArray[np.uint8]) -> None:
        put(draft, tensor, index, raw ^ np.uint8(1) if index else raw)

    with monkeypatch.context() as patch:
        patch.setattr(Draft, "put", forgetful)
        with pytest.raises(VerificationError):
            go(made, SUM, tmp_path / "out")
    assert list(tmp_path.glob("*out*")) == list(tmp_path.glob(".out*")) == []
    go(made, SUM, tmp_path / "out")


def test_a_disk_that_is_full_in_the_middle(
    made: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(draft: Draft, tensor: str, index: int, raw: NDArray[np.uint8]) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path))

    monkeypatch.setattr(Draft, "put", full)
    with pytest.raises(OSError, match="No space left"):
        go(made, SUM, tmp_path / "out")
    assert list(tmp_path.glob("*out*")) == list(tmp_path.glob(".out*")) == []
    found = status(made)
    assert (found.interrupted, found.targets) == (False, ())
    assert not fsck(made, CREW).findings


def test_what_cannot_be_written_is_not_computed(
    made: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(ForeignDirectoryError):
        go(made, SUM, tmp_path / "mine")
    monkeypatch.setattr(OpenDirectory, "free_bytes", lambda _: 1000)
    with pytest.raises(NoSpaceError):
        go(made, SUM, tmp_path / "out")
    monkeypatch.undo()
    assert build(made, SUM, CREW).computed


def test_two_blocks_of_one_key_are_told_apart_by_the_digest(
    made: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store from elsewhere gives other bytes for a key."""
    read = Blocks.read

    def forged(blocks: Blocks, tensor: Tensor, index: int, out: NDArray[np.uint8]) -> None:
        read(blocks, tensor, index, out)
        out[0] ^= 1

    monkeypatch.setattr(Blocks, "read", forged)
    monkeypatch.setattr("pvc.repo.targets.write_and_verify.key_at", _filled)
    with pytest.raises(VerificationError):
        go(made, "main", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def _filled(fd: int, stretch: Stretch, index: int, out: NDArray[np.uint8]) -> bytes:
    """The key that is expected, whatever the file holds."""
    atomic.read_all(fd, out.data, stretch.offset + index * BLOCK_BYTES)
    return stretch.tensor.key(index)
