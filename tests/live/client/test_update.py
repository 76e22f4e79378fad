"""Checking a tree out into an engine, and back, beside what a fresh process computes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import pvc
from pvc import live
from pvc.live.client.connection import RefusedError
from tests.live.conftest import CREW, held, update

if TYPE_CHECKING:
    from tests.live.conftest import EngineProcess, Starter, Weights


def outputs(engine: EngineProcess, folder: Path, fresh: Weights | None = None) -> np.ndarray:
    """What the engine computes, or a new model with some weights."""
    path = folder / "outputs.npy"
    if fresh is None:
        engine.ask("outputs", path=str(path))
    else:
        fresh.save(folder / "weights.npz")
        engine.ask("fresh", weights=str(folder / "weights.npz"), path=str(path))
    found: np.ndarray = np.load(path)
    return found


@pytest.mark.parametrize("kind", ["tiny", "half", "qwen3"])
def test_outputs_are_those_of_a_fresh_model_and_come_back(
    start: Starter, tmp_path: Path, kind: str
) -> None:
    engine = start(kind)
    engine.answer()
    before = outputs(engine, tmp_path)
    with engine.connect() as connection:
        base = held(connection)
        tuned = base.changed()
        update(connection, base, tuned)
        drifted, _ = live.verify(connection, tuned.tree, CREW)
        assert drifted == ()
        assert live.content(connection, CREW)[0].id == tuned.tree.id
        after = outputs(engine, tmp_path)
        assert np.abs(after - before).max() > 0
        assert np.array_equal(after, outputs(engine, tmp_path, fresh=tuned))
        update(connection, tuned, base)
    assert np.array_equal(outputs(engine, tmp_path), before)
    facts = engine.ask("facts")
    assert facts["same"]


def test_a_client_needs_no_torch(lasting: EngineProcess) -> None:
    """Finding an engine, reading it and writing to it: numpy is all it takes."""
    program = f"""
import sys
from pathlib import Path
from tests.live.conftest import CREW, held, update
from pvc import live
folder = Path({str(lasting.folder)!r})
assert [one.name for one in live.engines(folder)] == ["chat"]
with live.connect(None, folder) as connection:
    base = held(connection)
    update(connection, base, base.changed())
    update(connection, base.changed(), base)
assert not {{"torch", "transformers", "numba", "git"}} & set(sys.modules), "too much"
print(connection.manifest.model)
"""
    root = Path(__file__).parents[3]
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False
    )
    assert (found.stdout, found.stderr) == ("Tiny\n", "")


def test_backward_with_weights_that_were_replaced_fails(tmp_path: Path) -> None:
    """Torch is told of the write, so that gradients never mix two sets of weights."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
    folder = tmp_path / "engines"
    told: list[object] = []
    with pvc.share(model, "m", committed=told.append, folder=folder) as engine:
        loss = model(torch.ones(4, requires_grad=True)).sum()
        with live.connect("m", folder) as connection:
            base = held(connection)
            state = update(connection, base, base.changed(step=3)).state
        assert told == [state.origin]
        assert state == engine.state
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()
        assert not state.dirty


def test_an_answer_that_fails_after_the_commit_pauses_the_engine(tmp_path: Path) -> None:
    """A cache that could not be reset, for instance."""
    model = torch.nn.Linear(4, 4)
    folder = tmp_path / "engines"
    fails = [True]

    def committed(_: object) -> None:
        if fails[0]:
            raise RuntimeError("the cache was not reset")

    with (
        pvc.share(model, "m", committed=committed, folder=folder),
        live.connect("m", folder) as connection,
    ):
        base = held(connection)
        with pytest.raises(RefusedError, match="the cache was not reset"):
            update(connection, base, base.changed(step=3))
        state = connection.state()
        assert state.torn == "the cache was not reset"
        fails[0] = False
        update(connection, held(connection), base)
        assert connection.state().torn is None
        model(torch.ones(4))
