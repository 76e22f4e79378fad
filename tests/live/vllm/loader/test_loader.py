"""Tensors that vLLM keeps in a form of its own are changed by the loader of the model."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from pvc import live
from pvc.live.announced import folder as folder_module
from pvc.live.client.connection import RefusedError
from pvc.live.memory import sealed
from pvc.live.protocol.engine_state import ContentLabel
from pvc.live.protocol.update import TensorUpdate, WeightUpdate
from tests.live.conftest import CREW, overwrite, update
from tests.live.vllm.conftest import end, needs_vllm, start_llms
from tests.repo.conftest import git_config, plain_git  # noqa: F401
from tests.support.runner import Pvc
from tests.support.vllm_checkpoints import PROMPTS, content

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.live.vllm.conftest import Llms

pytestmark = [pytest.mark.live, needs_vllm]

KINDS = {"moe": False, "next": False, "untied": True, "tied": True}
"""Kind of model -> whether its linear weights are packed, too.

After a model without experts, vLLM cannot load one with experts into the same process.
"""


class Engine:
    """An attached vLLM that packs weights, and what fresh ones of two checkpoints say."""

    def __init__(self, llms: Llms, kind: str, checkpoint: Callable[[str], Path]) -> None:
        self.llms, self.kind = llms, kind
        self.key = f"{kind} by loader".replace(" ", "-")
        packing = KINDS[kind]
        llms.load(self.key, checkpoint(kind), packing=packing)
        fresh = f"{kind} tuned {'stock' if packing else 'fresh'}"
        # One that packs as vLLM does needs no pvc to compute the same.
        llms.load(fresh, checkpoint(f"{kind} tuned"), packing=packing, backend=not packing)
        assert llms.attach(self.key) is None
        self.base, self.tuned = content(checkpoint(kind)), content(checkpoint(f"{kind} tuned"))
        self.before, self.after = llms.outputs(self.key), llms.outputs(fresh)

    def connect(self) -> live.Connection:
        return live.connect(self.key, self.llms.folder)

    def outputs(self) -> Any:
        return self.llms.outputs(self.key)

    def loading(self, how: str | None) -> None:
        self.llms.ask("loading", key=self.key, how=how)

    def places(self) -> Any:
        return self.llms.ask("places", key=self.key)


@pytest.fixture(scope="module")
def get(
    tmp_path_factory: pytest.TempPathFactory, checkpoint: Callable[[str], Path]
) -> Iterator[Callable[[str], Engine]]:
    """Starts engines, each once."""
    folder = tmp_path_factory.mktemp("packing") / "engines"
    llms = start_llms(folder, VLLM_ENABLE_V1_MULTIPROCESSING="0")
    engines: dict[str, Engine] = {}

    def find(kind: str) -> Engine:
        if kind not in engines:
            engines[kind] = Engine(llms, kind, checkpoint)
        return engines[kind]

    yield find
    end(llms)


@pytest.fixture
def moe(get: Callable[[str], Engine]) -> Engine:
    return get("moe")


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_those_of_a_fresh_engine_and_come_back(
    get: Callable[[str], Engine], kind: str
) -> None:
    engine = get(kind)
    places = engine.places()
    assert engine.before != engine.after
    with engine.connect() as connection:
        assert connection.manifest.indirect
        assert connection.manifest.indirect == connection.manifest.grouped
        assert live.content(connection, CREW)[0].id == engine.base.tree.id
        for _ in range(2):
            state = update(connection, engine.base, engine.tuned).state
            assert engine.outputs() == engine.after
            assert live.verify(connection, engine.tuned.tree, CREW) == ((), state)
            assert live.content(connection, CREW)[0].id == engine.tuned.tree.id
            update(connection, engine.tuned, engine.base)
            assert engine.outputs() == engine.before
            assert live.content(connection, CREW)[0].id == engine.base.tree.id
    assert engine.places() == places


def test_which_tensors_are_not_direct(get: Callable[[str], Engine]) -> None:
    with get("moe").connect() as connection:
        experts = {name for name in connection.manifest.tensors if ".experts." in name}
        assert connection.manifest.indirect == experts
        assert [len(group) for group in connection.manifest.groups] == [12, 12]
    with get("tied").connect() as connection:
        direct = connection.manifest.tensors.keys() - connection.manifest.indirect
        assert all("norm" in name for name in direct)
        assert ("model.embed_tokens.weight",) in connection.manifest.groups


def test_what_is_loaded_together_is_sent_together(moe: Engine) -> None:
    name = "model.layers.0.mlp.experts.2.up_proj.weight"
    expert, attention = moe.base.changed(name), moe.base.changed("model.norm.weight")
    with moe.connect() as connection:
        assert update(connection, moe.base, attention).tensors == 1
        update(connection, attention, moe.base)
        assert update(connection, moe.base, expert).tensors == 12
        assert moe.outputs() != moe.before
        assert live.verify(connection, moe.base.tree, CREW)[0] == (name,)
        update(connection, expert, moe.base)
    assert moe.outputs() == moe.before


def test_a_part_of_a_group_is_refused(moe: Engine) -> None:
    name = "model.layers.0.mlp.experts.2.up_proj.weight"
    part = TensorUpdate.between(moe.base.tree[name], moe.tuned.tree[name])
    stage = sealed.create("a stage", moe.base.tree[name].nbytes)
    sealed.seal(stage, sealed.STAGE_SEALS)
    with moe.connect() as connection:
        state = connection.state()
        origin = ContentLabel(moe.tuned.tree.id, "/here", "main")
        change = WeightUpdate(origin, state.generation, state.stamp, take=True, tensors=(part,))
        with pytest.raises(RefusedError, match="has to be sent whole, with all that is loaded"):
            connection.prepare(change, stage)
        assert connection.state().torn is None
    os.close(stage)
    assert moe.outputs() == moe.before


@pytest.mark.parametrize(
    ("how", "reason"), [("fail", "OSError: the disk is gone"), ("skip", "not put where it belongs")]
)
def test_a_loader_that_fails(moe: Engine, how: str, reason: str) -> None:
    """The engine is torn, and waits; the next update repairs it."""
    moe.loading(how)
    with moe.connect() as connection:
        with pytest.raises(RefusedError, match=f"The loader cannot change .*{reason}"):
            update(connection, moe.base, moe.tuned)
        torn = connection.state().torn
        assert torn is not None
        assert reason in torn
        moe.llms.ask("begin", key=moe.key, prompts=PROMPTS)
        moe.loading(None)
        found, _ = live.content(connection, CREW)
        assert found.id not in {moe.base.tree.id, moe.tuned.tree.id}
        goal = live.UpdateGoal(moe.tuned.tree, "/here", "main")
        live.update(connection, found, goal, moe.tuned.read, CREW)
        assert connection.state().torn is None
        ended = moe.llms.ask("end")
        assert (ended["failures"], ended["hung"]) == ([], False)
        assert moe.outputs() == moe.after
        assert live.verify(connection, moe.tuned.tree, CREW)[0] == ()
        update(connection, moe.tuned, moe.base)
    assert moe.outputs() == moe.before


def test_what_was_written_to_packed_weights_is_seen(moe: Engine) -> None:
    parameter = "model.layers.1.mlp.experts.routed_experts.w2_weight"
    moe.llms.ask("poke", key=moe.key, parameter=parameter)
    with moe.connect() as connection:
        drifted, _ = live.verify(connection, moe.base.tree, CREW)
        assert set(drifted) == {name for name in moe.base.tree if "layers.1.mlp.experts." in name}
        overwrite(connection, moe.base)
        assert live.verify(connection, moe.base.tree, CREW)[0] == ()
    assert moe.outputs() == moe.before


def test_after_a_reload_by_vllm_itself(moe: Engine) -> None:
    """On CPUs it leaves experts unpacked, and the loaders of its reload in their places."""
    moe.llms.ask("reload", key=moe.key)
    with moe.connect() as connection:
        drifted, _ = live.verify(connection, moe.base.tree, CREW)
        assert set(drifted) == {name for name in moe.base.tree if ".experts." in name}
        overwrite(connection, moe.base)
        assert live.verify(connection, moe.base.tree, CREW)[0] == ()
    assert moe.outputs() == moe.before


def test_updates_while_it_generates(moe: Engine) -> None:
    moe.llms.ask("begin", key=moe.key, prompts=PROMPTS)
    with moe.connect() as connection:
        for _ in range(3):
            update(connection, moe.base, moe.tuned)
            update(connection, moe.tuned, moe.base)
    ended = moe.llms.ask("end")
    assert (ended["failures"], ended["hung"]) == ([], False)
    assert moe.outputs() == moe.before


def test_an_engine_that_is_attached_again_knows_what_it_holds(moe: Engine) -> None:
    with moe.connect() as connection:
        update(connection, moe.base, moe.tuned)
    moe.llms.ask("close", key=moe.key)
    moe.llms.attach(moe.key)
    with moe.connect() as connection:
        assert live.content(connection, CREW)[0].id == moe.tuned.tree.id
        update(connection, moe.tuned, moe.base)


@pytest.mark.usefixtures("plain_git")
def test_commands(
    moe: Engine, checkpoint: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit takes from the repository what it cannot read from the engine."""
    monkeypatch.setattr(folder_module, "default_path", lambda: moe.llms.folder)
    (tmp_path / "work").mkdir()
    pvc = Pvc(tmp_path / "work")
    assert pvc("init", "--base", checkpoint("moe")).code == 0
    assert pvc("commit", "tuned", "--from", checkpoint("moe tuned")).code == 0
    done = pvc("checkout", "main", "--live", moe.key, "--force")
    assert done.code == 0, done.err
    assert " ms and verified as far as possible, " in done.out
    assert "24 tensors are stored in another form and cannot be read" in done.out
    assert moe.outputs() == moe.after
    verified = pvc("live", "verify", moe.key)
    assert verified.code == 0
    assert ", as far as it can be read; " in verified.out
    assert "24 tensors are stored in another form" in verified.out
    moe.llms.ask("poke", key=moe.key, parameter="model.norm.weight")
    assert pvc("live", "verify", moe.key).code == 1
    moe.llms.ask("reset", key=moe.key)
    poked = moe.outputs()
    done = pvc("commit", "more", "--live", moe.key)
    assert done.code == 0, done.err
    assert pvc("checkout", "base", "--live", moe.key, "--keep-head").code == 0
    assert moe.outputs() == moe.before
    assert pvc("checkout", "main", "--live", moe.key).code == 0
    assert moe.outputs() == poked != moe.after
    assert pvc("checkout", "HEAD~1", "--live", moe.key).code == 0
    assert moe.outputs() == moe.after
    assert pvc("checkout", "base", "--live", moe.key).code == 0


@pytest.mark.usefixtures("plain_git")
def test_packed_weights_that_were_written_to_cannot_be_kept(
    moe: Engine, checkpoint: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "default_path", lambda: moe.llms.folder)
    (tmp_path / "work").mkdir()
    pvc = Pvc(tmp_path / "work")
    assert pvc("init", "--base", checkpoint("moe")).code == 0
    assert pvc("checkout", "main", "--live", moe.key, "--force").code == 0
    parameter = "model.layers.1.mlp.experts.routed_experts.w2_weight"
    moe.llms.ask("poke", key=moe.key, parameter=parameter)
    for command in (("commit", "more"), ("checkout", "main", "--force")):
        refused = pvc(*command, "--live", moe.key)
        assert refused.code == 13
        assert "does not have what it was made of" in refused.err
        assert "otherwise restart the engine" in refused.err.replace("\n", " ")
    with moe.connect() as connection:
        overwrite(connection, moe.base, take=True)
    assert moe.outputs() == moe.before
