"""A vLLM on a GPU generates with the weights that are there now, with CUDA graphs and without."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pvc import live
from tests.live.conftest import CREW, update
from tests.live.vllm.conftest import end, needs_vllm, start_llms
from tests.support.vllm_checkpoints import content

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.live.vllm.conftest import Llms

pytestmark = [pytest.mark.live, pytest.mark.gpu, needs_vllm]

SHARE = 0.2
"""Of the GPU's memory, for each of two vLLMs."""


@pytest.fixture
def llms(tmp_path: Path) -> Iterator[Llms]:
    """A process with vLLMs whose engines are processes of their own."""
    found = start_llms(tmp_path / "engines")
    yield found
    end(found)


@pytest.mark.parametrize("eager", [True, False], ids=["eager", "graphs"])
@pytest.mark.parametrize("kind", ["untied", "tied"])
def test_outputs_are_those_of_a_fresh_engine_and_come_back(
    llms: Llms, checkpoint: Callable[[str], Path], kind: str, eager: bool
) -> None:
    llms.load("base", checkpoint(kind), eager=eager, gpu_memory_utilization=SHARE)
    llms.load("fresh", checkpoint(f"{kind} tuned"), eager=eager, gpu_memory_utilization=SHARE)
    assert llms.attach("base") is None
    base, tuned = content(checkpoint(kind)), content(checkpoint(f"{kind} tuned"))
    before, fresh = llms.outputs("base"), llms.outputs("fresh")
    with live.connect("base", llms.folder) as connection:
        assert {one.device[:9] for one in connection.manifest.storages} == {"cuda:GPU-"}
        assert not connection.manifest.indirect
        assert live.content(connection, CREW)[0].id == base.tree.id
        for _ in range(2):
            update(connection, base, tuned)
            assert llms.outputs("base") == fresh != before
            assert live.content(connection, CREW)[0].id == tuned.tree.id
            update(connection, tuned, base)
            assert llms.outputs("base") == before
