"""Two ranks, each with its shards: together they are one engine."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pvc import live
from tests.live.conftest import CREW, update
from tests.live.vllm.conftest import end, needs_vllm, start_llms
from tests.support.vllm_checkpoints import content

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


def with_stage(process: int) -> int:
    """In how many processes, this one and those that it has started, a stage is mapped."""
    with contextlib.suppress(OSError):
        found = int("pvc the stage" in Path(f"/proc/{process}/maps").read_text())
        for task in Path(f"/proc/{process}/task").iterdir():
            found += sum(map(with_stage, map(int, (task / "children").read_text().split())))
        return found
    return 0


def test_two_ranks_with_packed_experts(
    two: Llms, checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each packs its parts of all experts, and both load whole groups; no stage is kept."""
    two.load("base", checkpoint("moe"), tensor_parallel_size=2)
    two.load("fresh", checkpoint("moe tuned"), tensor_parallel_size=2)
    assert two.attach("base") is None
    base, tuned = content(checkpoint("moe")), content(checkpoint("moe tuned"))
    before, fresh = two.outputs("base"), two.outputs("fresh")
    with live.connect("base", two.folder) as connection:
        assert len(connection.manifest.grouped) == 24
        with monkeypatch.context() as patch:
            seen: list[int] = []

            def drop(connection: live.Connection) -> Any:
                seen.append(with_stage(two.process.pid))
                return connection.drop()

            patch.setattr(live.Connection, "commit", drop)
            update(connection, base, tuned)
        connection.applied()  # what a rank is told next it hears when it has given the stage back
        assert [*seen, with_stage(two.process.pid)] == [2, 0]
        assert live.content(connection, CREW)[0].id == base.tree.id
        update(connection, base, tuned)
        connection.applied()
        assert with_stage(two.process.pid) == 0
        assert two.outputs("base") == fresh != before
        assert live.content(connection, CREW)[0].id == tuned.tree.id
        update(connection, tuned, base)
        assert two.outputs("base") == before
