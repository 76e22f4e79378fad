"""Models that are compiled: their calls are steps too, and new weights reach them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

import pvc
from pvc import live
from tests.live.conftest import held, update
from tests.support.engine_process import make

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.:DeprecationWarning")  # torch's own

TOKENS = torch.arange(0, 60).reshape(2, 30)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def whole(model: torch.nn.Module, backend: Any) -> Callable[..., torch.Tensor]:
    return torch.compile(model, backend=backend)


def in_place(model: torch.nn.Module, backend: Any) -> Callable[..., torch.Tensor]:
    model.compile(backend=backend)
    return model


def around(model: torch.nn.Module, backend: Any) -> Callable[..., torch.Tensor]:
    return torch.compile(lambda tokens: model(tokens) + 1, backend=backend)


@pytest.mark.parametrize("way", [whole, in_place, around])
@pytest.mark.parametrize("late", [False, True])
def test_calls_are_steps_and_compute_with_new_weights(
    tmp_path: Path, way: Callable[..., Callable[..., torch.Tensor]], late: bool
) -> None:
    model, folder = make("tiny"), tmp_path / "engines"
    free: list[bool] = []

    def backend(graph: torch.fx.GraphModule, _: object) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            if any(
                node.op == "placeholder" and "weight" in node.name for node in graph.graph.nodes
            ):
                free.append(engine._gate.shut(0))
            return graph(*arguments)

        return run

    compiled = None if late else way(model, backend)
    with pvc.share(model, "m", folder=folder) as engine, torch.no_grad():
        compiled = way(model, backend) if compiled is None else compiled
        before = compiled(TOKENS)
        with live.connect("m", folder) as connection:
            base = held(connection)
            changed = base.changed()
            update(connection, base, changed)
            after = compiled(TOKENS)
            update(connection, changed, base)
        assert torch.equal(compiled(TOKENS), before)
    twin = make("tiny")
    own = twin.state_dict()
    for name, raw in changed.raw.items():
        if not len(raw):
            continue
        own[name].copy_(torch.from_numpy(raw).view(own[name].dtype).reshape(own[name].shape))
    with torch.no_grad():
        fresh = twin(TOKENS) + (1 if way is around else 0)
    assert torch.equal(after, fresh)
    assert not torch.equal(after, before)
    assert free
    assert not any(free)


def test_without_hooks_there_is_one_graph(tmp_path: Path) -> None:
    model, folder = make("tiny"), tmp_path / "engines"
    with pvc.share(model, "m", folder=folder) as engine, torch.no_grad():
        engine.unhook()
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        with engine.step():
            before = compiled(TOKENS)
        with live.connect("m", folder) as connection:
            base = held(connection)
            update(connection, base, base.changed())
        with engine.step():
            assert not torch.equal(compiled(TOKENS), before)


def test_a_compiled_optimizer_is_counted(tmp_path: Path) -> None:
    model, folder = torch.nn.Linear(4, 4), tmp_path / "engines"
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step = torch.compile(optimizer.step, backend="aot_eager")
    with pvc.share(model, "m", folder=folder) as engine:
        for _ in range(2):
            before = engine.state.stamp
            model(torch.ones(4)).sum().backward()
            step()
            assert engine.state.stamp > before
        assert engine.state.touched == ("weight", "bias")
