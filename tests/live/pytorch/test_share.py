"""What sharing keeps, and what it refuses."""

from __future__ import annotations

import copy
import fcntl
import io
import os
from typing import TYPE_CHECKING

import pytest
import torch

import pvc
from pvc import live
from pvc.live.announced.folder import EngineNameError
from pvc.live.announced.registry import EngineNameTakenError
from pvc.live.memory import sealed
from pvc.live.pytorch.placement import Placement, UnshareableError
from tests.live.conftest import CREW, held, left, update

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live.conftest import EngineProcess, Starter


def test_identity_ties_strides_and_views_are_kept(engine: EngineProcess) -> None:
    facts = engine.ask("facts")
    assert facts["same"]
    assert facts["tied"]
    assert facts["view"]
    assert facts["grads"]
    assert facts["strides"]["turned"] == [1, 700]
    with engine.connect() as connection:
        manifest = connection.manifest
        assert manifest.ties == (("embed.weight", "head.weight"),)
        assert manifest.model == "Tiny"
        assert "cache" not in manifest.tensors
        assert manifest.tensors["scale"].shape == ()
        tree, _ = live.content(connection, CREW)
    assert "head.weight" not in tree
    assert tree["nothing"].nbytes == 0


def test_training_in_place_is_that_of_a_model_that_is_not_shared(engine: EngineProcess) -> None:
    engine.ask("train")
    engine.ask("train")
    assert engine.ask("twin", steps=2)
    assert engine.ask("facts")["same"]


def test_a_fork_of_the_engine_does_not_end_it(engine: EngineProcess) -> None:
    assert engine.ask("fork") == 0
    with engine.connect() as connection:
        base = held(connection)
        update(connection, base, base.changed("up.bias"))


def test_closing_leaves_nothing_behind_and_the_model_works(
    engine: EngineProcess, tmp_path: Path
) -> None:
    engine.ask("close")
    assert left(engine.folder) == ["lock"]
    engine.ask("outputs", path=str(tmp_path / "out.npy"))
    assert live.engines(engine.folder) == ()


def test_too_little_memory_leaves_the_model_as_it_was(start: Starter) -> None:
    engine = start(limit=1 << 20)
    found = engine.answer()
    assert found["error"] == "RoomError"
    assert "There is no memory for shared weights" in found["message"]
    assert left(engine.folder) == ["lock"]


def test_room_that_ends_half_way_brings_everything_back() -> None:
    """The second tensor has no room; the first one goes back to memory of its own."""
    model = torch.nn.Linear(64, 64)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    placement = Placement(model.state_dict(keep_vars=True), ())
    fd = sealed.create("too little", placement.host_bytes)
    mapped = sealed.map_writable(fd, placement.host_bytes)
    os.ftruncate(fd, model.weight.nbytes)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
    with pytest.raises(sealed.RoomError):
        placement.move(fd, mapped)
    os.close(fd)
    shared = torch.frombuffer(mapped, dtype=torch.uint8).data_ptr()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
        assert not shared <= tensor.data_ptr() < shared + placement.host_bytes


class Holder(torch.nn.Module):
    def __init__(self, **tensors: torch.Tensor) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (torch.nn.Linear(2, 2, device="meta"), "on the device meta"),
        (Holder(t=torch.ones(3, 1).expand(3, 4)), "expanded"),
        (Holder(t=torch.eye(3).to_sparse()), "not a plain tensor|sparse"),
        (Holder(t=torch.zeros(2, dtype=torch.complex128)), "dtype is complex128"),
        (Holder(t=(whole := torch.zeros(9)), u=whole[2:5]), "shares a part of its memory with t"),
    ],
)
def test_what_cannot_be_shared(tmp_path: Path, model: torch.nn.Module, says: str) -> None:
    with pytest.raises(UnshareableError, match=says):
        pvc.share(model, "odd", folder=tmp_path / "engines")
    assert left(tmp_path / "engines") == ["lock"]


@pytest.mark.parametrize("name", ["", "../x", "a/b", "-x", "a b", "x" * 61, ".hidden", "a\n"])
def test_names_that_are_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(EngineNameError):
        pvc.share(torch.nn.Linear(2, 2), name, folder=tmp_path)


def test_a_name_is_given_once(engine: EngineProcess) -> None:
    with pytest.raises(EngineNameTakenError, match=f"process {engine.process.pid} has it"):
        pvc.share(torch.nn.Linear(2, 2), engine.name, folder=engine.folder)
    with engine.connect() as connection:
        assert connection.state().generation == 0


def test_a_model_is_shared_once_at_a_time(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 3)
    folder = tmp_path / "engines"
    with (
        pvc.share(model, "a", folder=folder),
        pytest.raises(UnshareableError, match="another engine of this process shares it"),
    ):
        pvc.share(model, "b", folder=folder)
    with pvc.share(model, "b", folder=folder), live.connect("b", folder) as connection:
        base = held(connection)
        update(connection, base, base.changed("bias", step=2))


def test_copies_of_a_shared_model_are_models_of_their_own(tmp_path: Path) -> None:
    model, folder = torch.nn.Linear(3, 3), tmp_path / "engines"
    with pvc.share(model, "m", folder=folder) as engine:
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        loaded = torch.load(file, weights_only=False)
        for one in (loaded, copy.deepcopy(model)):
            with live.connect("m", folder) as connection:
                base = held(connection)
                update(connection, base, base.changed(step=3))
            assert torch.equal(one.weight, loaded.weight)
            assert not torch.equal(one.weight, model.weight)
            assert engine._gate.shut(0)
            one(torch.ones(3))  # no step of the engine, whose steps wait
            engine._gate.open()
            with live.connect("m", folder) as connection:
                update(connection, base.changed(step=3), base)


def test_two_models_in_one_process(tmp_path: Path) -> None:
    models = [torch.nn.Linear(3, 3) for _ in range(2)]
    folder = tmp_path / "engines"
    with pvc.share(models[0], "a", folder=folder), pvc.share(models[1], "b", folder=folder):
        assert [one.name for one in live.engines(folder)] == ["a", "b"]
        with live.connect("b", folder) as connection:
            base = held(connection)
            changed = base.changed("bias", step=2)
            update(connection, base, changed)
        assert models[1].bias.detach().numpy().tobytes() == changed.raw["bias"].tobytes()
    assert live.engines(folder) == ()
