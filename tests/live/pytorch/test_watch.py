"""A model that leaves the memory that it was shared in: nothing is read or written there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch.nn.utils import prune

import pvc
from pvc import live
from pvc.live.client.connection import RefusedError
from pvc.live.pytorch.watch import StrayedError, Watch
from tests.live.conftest import CREW, held, update

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Pair(torch.nn.Module):
    seen: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.one = torch.nn.Linear(8, 8, dtype=torch.bfloat16)
        self.two = torch.nn.Linear(8, 8, dtype=torch.bfloat16)
        self.register_buffer("seen", torch.zeros(3, dtype=torch.bfloat16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.two(self.one(x))
        return found


def assign(model: Pair) -> None:
    weights = {name: one.clone() for name, one in model.state_dict().items()}
    model.load_state_dict(weights, assign=True)


def replace_data(model: Pair) -> None:
    model.two.bias.data = torch.zeros(8, dtype=torch.bfloat16)


def replace_module(model: Pair) -> None:
    model.two = torch.nn.Linear(8, 8, dtype=torch.bfloat16)


def replace_buffer(model: Pair) -> None:
    model.seen = model.seen + 1


class Tied(torch.nn.Module):
    """One weight in four places: two modules, one of which stands twice, and a second name."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(8, 8, dtype=torch.bfloat16)
        self.head = torch.nn.Linear(8, 8, bias=False, dtype=torch.bfloat16)
        self.head.weight = self.embed.weight
        self.again = self.head
        self.head.also = self.embed.weight


def fresh() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.zeros(8, 8, dtype=torch.bfloat16))


@pytest.mark.parametrize(
    "untie",
    [
        lambda model: setattr(model.head, "weight", fresh()),
        lambda model: setattr(model.head, "also", fresh()),
        lambda model: setattr(model, "again", torch.nn.Linear(8, 8, dtype=torch.bfloat16)),
        lambda model: setattr(model, "head", torch.nn.Linear(8, 8, dtype=torch.bfloat16)),
        lambda model: setattr(model.embed, "weight", fresh()),
        lambda model: delattr(model.head, "weight"),
    ],
)
def test_every_place_of_a_tied_weight_counts(untie: Callable[[Tied], None]) -> None:
    model = Tied()
    named = {"embed.weight": model.embed.weight}
    watch = Watch(model, named)
    watch.check()
    untie(model)
    with pytest.raises(StrayedError, match=r"embed\.weight"):
        watch.check()


@pytest.mark.parametrize(
    "change",
    [
        lambda module: prune.random_unstructured(module, "weight", 0.5),  # type: ignore[no-untyped-call]
        torch.nn.utils.spectral_norm,
        torch.nn.utils.parametrizations.orthogonal,
    ],
)
def test_what_is_computed_from_a_shared_weight_is_noticed(
    change: Callable[[torch.nn.Module], object],
) -> None:
    """The shared tensor lives on under another name, and the module computes with another."""
    layer = torch.nn.Linear(8, 8)
    watch = Watch(torch.nn.Sequential(layer), {"0.weight": layer.weight})
    watch.check()
    change(layer)
    with pytest.raises(StrayedError, match=r"0\.weight"):
        watch.check()


def test_wrapping_a_module_is_no_straying() -> None:
    model = Tied()
    watch = Watch(model, {"embed.weight": model.embed.weight})
    wrapper = torch.nn.Sequential(model.head)
    model.head, model.again = wrapper, wrapper  # type: ignore[assignment]
    watch.check()


@pytest.mark.parametrize(
    ("leave", "name"),
    [
        (torch.nn.Module.float, r"one\.weight"),
        (assign, "seen"),
        (replace_data, r"two\.bias"),
        (replace_module, r"two\.weight"),
        (replace_buffer, "seen"),
    ],
)
def test_a_model_that_leaves(tmp_path: Path, leave: Callable[[Pair], None], name: str) -> None:
    model, folder = Pair(), tmp_path / "engines"
    with pvc.share(model, "m", folder=folder):
        with live.connect("m", folder) as connection:
            base = held(connection)
            leave(model)
            for use in (
                connection.state,
                lambda: live.verify(connection, base.tree, CREW),
                lambda: live.EngineTensors(connection),
                lambda: update(connection, base, base.changed(step=3)),
            ):
                with pytest.raises(RefusedError, match=f"tensor {name} is not the one") as caught:
                    use()
                assert caught.value.kind == "StrayedError"
            connection.drop()
        with live.connect("m", folder) as connection, pytest.raises(RefusedError, match=name):
            held(connection)


def test_what_is_no_leaving(tmp_path: Path) -> None:
    """What is done in place, and what is put around a module, leaves the tensors where they are."""
    model, folder = Pair(), tmp_path / "engines"
    with pvc.share(model, "m", folder=folder), live.connect("m", folder) as connection:
        base = held(connection)
        model.to("cpu").bfloat16().requires_grad_(False).eval()
        model.load_state_dict(model.state_dict())
        model.two.weight = model.two.weight
        model.one = torch.nn.Sequential(model.one, torch.nn.Identity())  # type: ignore[assignment]
        model.cast = torch.zeros(2)
        now = held(connection)
        assert now.tree.id == base.tree.id
        update(connection, now, base.changed(step=3))
        assert model.two.bias.float().tolist() != base.raw["two.bias"].tolist()


def test_parts_of_a_fused_parameter(tmp_path: Path) -> None:
    """The parts are the engine's; that they are still the model's is seen from the whole."""
    model, folder = torch.nn.Linear(4, 6, bias=False), tmp_path / "engines"
    parts = {"q": model.weight.detach()[:2], "k": model.weight.detach()[2:]}
    with (
        pvc.share(model, "m", tensors=parts, folder=folder) as engine,
        live.connect("m", folder) as connection,
    ):
        base = held(connection)
        changed = base.changed("k", step=3)
        update(connection, base, changed)
        assert model.weight[2:].detach().numpy().tobytes() == changed.raw["k"].tobytes()
        model.double()
        with pytest.raises(RefusedError, match="tensor k is not the one that was shared"):
            connection.state()
        assert engine.state.generation == 1


def test_names_of_what_was_written() -> None:
    model = Pair()
    model.two.bias = model.one.bias
    watch = Watch(model, model.state_dict(keep_vars=True))
    before = watch.counts()
    assert list(before) == ["seen", "one.weight", "one.bias", "two.weight"]
    with torch.no_grad():
        model.two.bias.add_(1)
        model.seen.zero_()
    after = watch.counts()
    assert [name for name in after if after[name] != before[name]] == ["seen", "one.bias"]
    watch.written(["two.bias"])
    assert watch.counts()["one.bias"] == after["one.bias"] + 1
    watch.check()
    model.half()
    with pytest.raises(StrayedError):
        watch.check()


def test_a_model_made_for_inference(tmp_path: Path) -> None:
    """Torch counts nothing there."""
    with torch.inference_mode():
        model = torch.nn.Linear(4, 4)
    folder = tmp_path / "engines"
    with pvc.share(model, "m", folder=folder), live.connect("m", folder) as connection:
        base = held(connection)
        changed = base.changed(step=3)
        assert update(connection, base, changed).state.stamp == 0
        assert model.weight.detach().numpy().tobytes() == changed.raw["weight"].tobytes()
