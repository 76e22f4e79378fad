"""Two ranks, each with its shards: together they are one engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pvc import live
from tests.live.conftest import CREW, update
from tests.live.vllm.checkpoints import content
from tests.live.vllm.conftest import end, needs_vllm, start_llms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.live.vllm.conftest import Llms

pytestmark = [pytest.mark.live, pytest.mark.torture, needs_vllm]


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Llms]:
    found = start_llms(tmp_path / "engines")
    yield found
    end(found)


@pytest.mark.parametrize("kind", ["untied", "grouped"])
def test_two_ranks(two: Llms, checkpoint: Callable[[str], Path], kind: str) -> None:
    """Of the grouped model, both ranks hold the only head of keys and values."""
    two.load("base", checkpoint(kind), tensor_parallel_size=2)
    two.load("fresh", checkpoint(f"{kind} tuned"), tensor_parallel_size=2)
    assert two.attach("base") is None
    base, tuned = content(checkpoint(kind)), content(checkpoint(f"{kind} tuned"))
    before, fresh = two.outputs("base"), two.outputs("fresh")
    with live.connect("base", two.folder) as connection:
        tensors = connection.manifest.tensors.values()
        assert all(tensor.direct and len(tensor.regions) > 1 for tensor in tensors)
        assert live.content(connection, CREW)[0].id == base.tree.id
        update(connection, base, tuned)
        assert two.outputs("base") == fresh != before
        assert live.content(connection, CREW)[0].id == tuned.tree.id
        update(connection, tuned, base)
        assert two.outputs("base") == before


def test_two_ranks_with_packed_experts(two: Llms, checkpoint: Callable[[str], Path]) -> None:
    """Each packs its parts of all experts, and both load whole groups."""
    two.load("base", checkpoint("moe"), tensor_parallel_size=2)
    two.load("fresh", checkpoint("moe tuned"), tensor_parallel_size=2)
    assert two.attach("base") is None
    base, tuned = content(checkpoint("moe")), content(checkpoint("moe tuned"))
    before, fresh = two.outputs("base"), two.outputs("fresh")
    with live.connect("base", two.folder) as connection:
        assert len(connection.manifest.grouped) == 24
        assert live.content(connection, CREW)[0].id == base.tree.id
        update(connection, base, tuned)
        assert two.outputs("base") == fresh != before
        assert live.content(connection, CREW)[0].id == tuned.tree.id
        update(connection, tuned, base)
        assert two.outputs("base") == before
