"""A vLLM that compiles its model (torch.compile) computes with the weights that are there now."""

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

pytestmark = [pytest.mark.live, pytest.mark.torture, needs_vllm]


@pytest.fixture
def compiling(tmp_path: Path) -> Iterator[Llms]:
    """A process with vLLMs that compile; one that is to be tested quickly does not."""
    found = start_llms(
        tmp_path / "engines", VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_CPU_CI_ENV="0"
    )
    yield found
    end(found)


@pytest.mark.parametrize("kind", ["untied", "tied", "moe"])
def test_outputs_are_those_of_a_fresh_engine_and_come_back(
    compiling: Llms, checkpoint: Callable[[str], Path], kind: str
) -> None:
    compiling.load("base", checkpoint(kind), eager=False)
    compiling.load("fresh", checkpoint(f"{kind} tuned"), eager=False)
    assert compiling.ask("compiled", key="base") == ["DYNAMO_TRACE_ONCE", "inductor"]
    assert compiling.attach("base") is None
    base, tuned = content(checkpoint(kind)), content(checkpoint(f"{kind} tuned"))
    before, fresh = compiling.outputs("base"), compiling.outputs("fresh")
    with live.connect("base", compiling.folder) as connection:
        assert connection.manifest.indirect == connection.manifest.grouped
        assert bool(connection.manifest.indirect) == (kind == "moe")
        for _ in range(2):
            update(connection, base, tuned)
            assert compiling.outputs("base") == fresh != before
            assert live.content(connection, CREW)[0].id == tuned.tree.id
            update(connection, tuned, base)
            assert compiling.outputs("base") == before
