"""Tensors that vLLM's loader leaves out: said at the start, and no reason to refuse the others.

Qwen3 with `attention_bias` has a bias at the output of its attention, for which vLLM has no place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pvc import live
from pvc.live.commands.verify import check
from pvc.repo.commands.commit import Wish, commit
from pvc.repo.commands.commit_source import CheckpointSource
from pvc.repo.repository import Repository
from tests.live.conftest import CREW
from tests.live.vllm.conftest import needs_vllm
from tests.support.engines import Engine, create, go, keep

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.live.vllm.conftest import Llms

pytestmark = [pytest.mark.live, needs_vllm]

LEFT_OUT = tuple(f"model.layers.{layer}.self_attn.o_proj.bias" for layer in (0, 1))


def test_a_tensor_that_vllm_does_not_load(
    llms: Llms, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    for key in ("biased", "biased tuned"):
        llms.load(key, checkpoint(key))
    assert llms.attach("biased") is None
    engine = Engine("biased", llms.folder)
    before, fresh = llms.outputs("biased"), llms.outputs("biased tuned")
    assert before != fresh
    with engine.connect() as connection:
        assert connection.manifest.unloaded == LEFT_OUT
        assert not set(LEFT_OUT) & connection.manifest.tensors.keys()
        assert "model.layers.0.self_attn.q_proj.bias" in connection.manifest.tensors
    with Repository.open(create(tmp_path / "work", checkpoint("biased"))) as repository:
        source = CheckpointSource(checkpoint("biased tuned"))
        made = commit(repository, Wish("tuned", onto="base"), source, CREW)
        assert go(repository, engine, "base", keep_head=True).unloaded == ()
        done = go(repository, engine, "main")
        assert (done.unloaded, done.rescue) == (LEFT_OUT, None)
        assert llms.outputs("biased") == fresh
        with engine.connect() as connection:
            found = check(repository, connection, None, CREW)
            assert (found.drifted, found.unloaded) == ((), LEFT_OUT)
            assert live.verify(connection, repository.store.tree(made.vector.to_tree), CREW)
        llms.ask("poke", key="biased", parameter="model.layers.1.self_attn.qkv_proj.weight")
        kept = keep(repository, engine, "poked")
        tree = repository.store.tree(kept.vector.to_tree)
        tuned = repository.store.tree(made.vector.to_tree)
        assert all(tree[name] == tuned[name] for name in LEFT_OUT)
        assert go(repository, engine, "base").rescue is None
    assert llms.outputs("biased") == before
    llms.ask("close", key="biased")
