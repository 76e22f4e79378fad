"""An offline `vllm.LLM` is an engine: what it generates is what a fresh one would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pvc import live
from pvc.live.client.connection import RefusedError
from pvc.live.client.updating import DriftedEngineError
from pvc.live.commands import status
from tests.live.conftest import CREW, held, update
from tests.live.vllm.conftest import end, needs_vllm, start_llms
from tests.support.vllm_checkpoints import PROMPTS, content

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.live.vllm.conftest import Llms

pytestmark = [pytest.mark.live, needs_vllm]


class Engine:
    """An attached vLLM, and the two checkpoints that it goes between."""

    def __init__(self, llms: Llms, key: str, checkpoint: Callable[[str], Path]) -> None:
        self.llms, self.key = llms, key
        self.base = content(checkpoint(key))
        self.tuned = content(checkpoint(f"{key} tuned"))

    def connect(self) -> live.Connection:
        return live.connect(self.key, self.llms.folder)

    def outputs(self) -> Any:
        return self.llms.outputs(self.key)

    def checksums(self, key: str = "") -> Any:
        return self.llms.ask("checksums", key=key or self.key)


@pytest.fixture(scope="module", params=["untied", "tied"])
def engine(
    request: pytest.FixtureRequest, llms: Llms, checkpoint: Callable[[str], Path]
) -> Iterator[Engine]:
    """An engine with a model's base weights, and beside it a fresh vLLM with the tuned ones."""
    key = request.param
    llms.load(key, checkpoint(key))
    llms.load(f"{key} tuned", checkpoint(f"{key} tuned"))
    assert llms.attach(key) is None
    yield Engine(llms, key, checkpoint)
    llms.ask("close", key=key)


def test_the_content_of_a_fresh_engine_is_its_checkpoint(engine: Engine) -> None:
    with engine.connect() as connection:
        assert live.content(connection, CREW)[0].id == engine.base.tree.id
        assert all(tensor.direct for tensor in connection.manifest.tensors.values())


def test_outputs_are_those_of_a_fresh_engine_and_come_back(engine: Engine) -> None:
    before, sums = engine.outputs(), engine.checksums()
    fresh = engine.llms.outputs(f"{engine.key} tuned")
    assert before == engine.outputs()
    assert before != fresh
    with engine.connect() as connection:
        state = update(connection, engine.base, engine.tuned).state
        assert engine.outputs() == fresh
        assert engine.checksums() == engine.checksums(f"{engine.key} tuned")
        assert live.verify(connection, engine.tuned.tree, CREW) == ((), state)
        assert live.content(connection, CREW)[0].id == engine.tuned.tree.id
        version = f"pvc:{engine.tuned.tree.id.hex()}"
        assert engine.llms.ask("version", key=engine.key) == version
        update(connection, engine.tuned, engine.base)
    assert engine.outputs() == before
    assert engine.checksums() == sums


def test_without_the_reset_the_prefix_cache_is_stale(engine: Engine) -> None:
    """Why it is reset: a vLLM that only says so mixes old and new weights."""
    fresh = engine.llms.outputs(f"{engine.key} tuned")
    engine.outputs()
    engine.llms.ask("forgetful", key=engine.key, answer=True)
    with engine.connect() as connection:
        update(connection, engine.base, engine.tuned)
        engine.llms.ask("forgetful", key=engine.key, answer=None)
        stale = engine.outputs()
        assert stale[0] != fresh[0]
        assert stale[1] == fresh[1]  # too short to be remembered
        assert engine.llms.ask("reset", key=engine.key)
        assert engine.outputs() == fresh
        update(connection, engine.tuned, engine.base)


def test_a_reset_that_fails_pauses_the_engine(engine: Engine) -> None:
    before = engine.outputs()
    engine.llms.ask("forgetful", key=engine.key, answer=False)
    with engine.connect() as connection:
        says = "asked to reset its prefix cache, and failed: it says that it has not"
        with pytest.raises(RefusedError, match=says):
            update(connection, engine.base, engine.tuned)
        torn = connection.state().torn
        assert torn is not None
        assert "prefix cache" in torn
        engine.llms.ask("begin", key=engine.key, prompts=PROMPTS)
        engine.llms.ask("forgetful", key=engine.key, answer=None)
        update(connection, held(connection), engine.base)
        assert connection.state().torn is None
    found = engine.llms.ask("end")
    assert (found["failures"], found["hung"]) == ([], False)
    assert engine.outputs() == before


def test_drift_is_found_and_repaired(engine: Engine) -> None:
    """Of a fused parameter, the part that was written to is named."""
    before = engine.outputs()
    engine.llms.ask("poke", key=engine.key, parameter="model.layers.1.self_attn.qkv_proj.weight")
    with engine.connect() as connection:
        drifted, _ = live.verify(connection, engine.base.tree, CREW)
        assert drifted == ("model.layers.1.self_attn.q_proj.weight",)
        with pytest.raises(DriftedEngineError):
            update(connection, engine.base, engine.tuned)
        update(connection, held(connection), engine.base)
        assert live.verify(connection, engine.base.tree, CREW)[0] == ()
    assert engine.outputs() == before


def test_a_parameter_that_left_the_shared_memory_is_noticed(engine: Engine) -> None:
    """Else the shared memory would be verified, and vLLM would compute with something else."""
    parameter = "model.layers.0.mlp.down_proj.weight"
    before = engine.outputs()
    with engine.connect() as connection:
        assert live.verify(connection, engine.base.tree, CREW)[0] == ()
        engine.llms.ask("stray", key=engine.key, parameter=parameter)
        with pytest.raises(RefusedError, match=f"tensor {parameter} is not the one that was"):
            live.verify(connection, engine.base.tree, CREW)
        with pytest.raises(RefusedError, match=f"tensor {parameter} is not the one that was"):
            update(connection, engine.base, engine.tuned)
    [seen] = status.ask_all(engine.llms.folder)
    assert "is not the one that was shared" in str(seen.problem)
    engine.llms.ask("stray", key=engine.key, parameter=parameter)
    with engine.connect() as connection:
        assert live.verify(connection, engine.base.tree, CREW)[0] == ()
    assert engine.outputs() == before


def test_it_cannot_be_attached_twice(engine: Engine) -> None:
    """Its ranks would leave the engine that it is."""
    found = engine.llms.ask(
        "attach", key=engine.key, name="another", folder=str(engine.llms.folder)
    )
    assert found["error"] == "UnsupportedEngineError"
    assert "it is attached already" in found["message"]
    with engine.connect() as connection:
        update(connection, engine.base, engine.tuned)
        update(connection, engine.tuned, engine.base)


def test_updates_while_it_generates(engine: Engine) -> None:
    before = engine.outputs()
    engine.llms.ask("begin", key=engine.key, prompts=PROMPTS)
    with engine.connect() as connection:
        for _ in range(6):
            update(connection, engine.base, engine.tuned)
            update(connection, engine.tuned, engine.base)
    found = engine.llms.ask("end")
    assert (found["failures"], found["hung"]) == ([], False)
    assert found["calls"] > 0
    assert engine.outputs() == before


def test_an_engine_that_was_closed_is_no_engine(engine: Engine) -> None:
    before = engine.outputs()
    engine.llms.ask("close", key=engine.key)
    assert live.engines(engine.llms.folder) == ()
    assert engine.outputs() == before
    engine.llms.attach(engine.key)
    with engine.connect() as connection:
        assert live.verify(connection, engine.base.tree, CREW)[0] == ()


def test_what_cannot_be_attached(llms: Llms, checkpoint: Callable[[str], Path]) -> None:
    llms.load("plain", checkpoint("untied"), backend=False)
    found = llms.attach("plain")
    assert found["error"] == "UnsupportedEngineError"
    assert "weight transfer config" in found["message"]


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Llms]:
    """A process with vLLMs whose engines are processes of their own."""
    found = start_llms(tmp_path_factory.mktemp("apart") / "engines")
    yield found
    end(found)


def test_an_engine_in_a_process_of_its_own(
    apart: Llms, llms: Llms, checkpoint: Callable[[str], Path]
) -> None:
    base, tuned = (content(checkpoint(name)) for name in ("untied", "untied tuned"))
    llms.load("fresh", checkpoint("untied tuned"))
    apart.load("untied", checkpoint("untied"))
    apart.attach("untied")
    fresh, before = llms.outputs("fresh"), apart.outputs("untied")
    with live.connect("untied", apart.folder) as connection:
        apart.ask("begin", key="untied", prompts=PROMPTS)
        update(connection, base, tuned)
        found = apart.ask("end")
        assert (found["failures"], found["hung"]) == ([], False)
        assert apart.outputs("untied") == fresh
        update(connection, tuned, base)
    assert apart.outputs("untied") == before
