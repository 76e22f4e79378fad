"""A checkpoint with tensors that transformers has no place for is served, and checked out into."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

from pvc import live
from pvc.repo.commands.commit import Wish, commit
from pvc.repo.commands.commit_source import CheckpointSource
from pvc.repo.repository import Repository
from tests.live.conftest import CREW
from tests.support.engines import create, go, look
from tests.support.served import Server

if TYPE_CHECKING:
    from pathlib import Path

LEFT_OUT = "mtp.layers.0.weight"


def with_more(model: Path, folder: Path, step: float) -> Path:
    """A model with a tensor more, and all of it moved a little."""
    shutil.copytree(model, folder)
    file = folder / "model.safetensors"
    tensors = {
        name: (one + step).to(one.dtype) if one.is_floating_point() else one
        for name, one in load_file(file).items()
    }
    save_file({**tensors, LEFT_OUT: torch.full((8, 8), step)}, file, {"format": "pt"})
    return folder


def test_what_the_model_has_no_place_for_is_left_out(model: Path, tmp_path: Path) -> None:
    base = with_more(model, tmp_path / "base", 0.0)
    tuned = with_more(model, tmp_path / "tuned", 0.01)
    server = Server(base, tmp_path / "engines")
    try:
        with server.connect() as connection:
            assert connection.manifest.unloaded == (LEFT_OUT,)
        with Repository.open(create(tmp_path / "work", base)) as repository:
            made = commit(repository, Wish("tuned", onto="base"), CheckpointSource(tuned), CREW)
            assert look(repository, server).condition == "new"
            assert go(repository, server, "base", keep_head=True).unloaded == ()
            assert go(repository, server, "main").unloaded == (LEFT_OUT,)
            head = repository.store.tree(made.vector.to_tree)
            with server.connect() as connection:
                assert live.verify(connection, head, CREW)[0] == ()
    finally:
        server.end()
