"""What commit and diff count is what a few lines of numpy count."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pvc.repo.commands.commit import Wish, commit
from pvc.repo.commands.commit_source import CheckpointSource
from pvc.repo.commands.diff_trees import diff
from pvc.repo.commands.init import initialise
from pvc.repo.repository import Repository
from pvc.weights.tensor_names import role
from pvc_store.block import BLOCK_BYTES
from tests.repo.conftest import CREW
from tests.support import models

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.models import Model

Counts = tuple[int, int, int, int, float, float]


def counted(before: Model, after: Model, names: list[str]) -> Counts:
    """Elements, changed ones, blocks, changed ones, norm of tau, norm of what it started from."""
    elements = changed = blocks = changed_blocks = 0
    tau = start = 0.0
    for name in names:
        old, new = models.numbers(before[name]), models.numbers(after[name])
        elements += old.size
        if before[name].dtype == after[name].dtype:
            width = len(before[name].data) // old.size
            words = (np.frombuffer(each[name].data, f"<u{width}") for each in (before, after))
            changed += int(np.count_nonzero(np.not_equal(*words)))
        else:
            changed += int(np.count_nonzero(old != new))
        data = after[name].data
        for at in range(0, len(data), BLOCK_BYTES):
            blocks += 1
            changed_blocks += (
                data[at : at + BLOCK_BYTES] != before[name].data[at : at + BLOCK_BYTES]
            )
        tau += float(((new - old) ** 2).sum())
        start += float((old**2).sum())
    return elements, changed, blocks, changed_blocks, float(np.sqrt(tau)), float(np.sqrt(start))


def by_role(what: Model) -> dict[str, list[str]]:
    roles = defaultdict(list)
    for name in what:
        roles[role(name)].append(name)
    return dict(sorted(roles.items()))


def trained(before: Model) -> Model:
    """Everything a little, but one tensor not at all, and of the largest one block only."""
    embed, q = "model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight"
    after = models.tuned(before, 1, step=1e-4) | {q: before[q]}
    old, new = before[embed], after[embed]
    cut = BLOCK_BYTES
    return after | {embed: models.Raw(old.dtype, old.shape, old.data[:cut] + new.data[cut:])}


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_counts(tmp_path: Path, dtype: str) -> None:
    before = models.model(3, dtype)
    after = trained(before)
    base, new = models.save(tmp_path / "base", before), models.save(tmp_path / "new", after)
    (tmp_path / "work").mkdir()
    initialise(tmp_path / "work", base, by_value=True, crew=CREW)
    with Repository.open(tmp_path / "work") as repository:
        vector = commit(repository, Wish("listening"), CheckpointSource(new), CREW).vector
        found = diff(repository, None, None, "role", CREW)
        backwards = diff(repository, "HEAD", "base", "role", CREW)
    statistics = vector.statistics
    total = counted(before, after, [*before])
    assert total[2] > len(before)
    assert total[3] == total[2] - 2  # q, and the first block of embed
    assert 0 < total[1] < total[0]
    assert (statistics.blocks, statistics.changed_blocks) == total[2:4]
    assert (statistics.tensors, statistics.changed_tensors) == (len(before), len(before) - 1)
    assert statistics.total_bytes == sum(len(raw.data) for raw in before.values())
    expected = {name: counted(before, after, members) for name, members in by_role(before).items()}
    assert [name for name, _ in statistics.roles] == list(expected)
    for amount, counts in [
        (statistics.amount, total),
        *((amount, expected[name]) for name, amount in statistics.roles),
    ]:
        assert (amount.elements, amount.changed_elements) == counts[:2]
        assert float(amount.tau_norm) == pytest.approx(counts[4], rel=1e-6)
        assert float(amount.from_norm) == pytest.approx(counts[5], rel=1e-6)
    assert [row.label for row in found.rows] == list(expected)
    for row, counts in [(found.total, total), *zip(found.rows, expected.values(), strict=True)]:
        assert (row.elements, row.changed_elements, row.blocks, row.changed_blocks) == counts[:4]
        assert row.tau_norm == pytest.approx(counts[4], rel=1e-6)
        assert row.from_norm == pytest.approx(counts[5], rel=1e-6)
        assert row.changed_elements / row.elements == pytest.approx(counts[1] / counts[0])
    assert backwards.total.tau_norm == pytest.approx(total[4], rel=1e-6)
    assert backwards.total.from_norm == pytest.approx(counted(after, before, [*after])[5], rel=1e-6)


def test_counts_of_a_wider_type(tmp_path: Path) -> None:
    """Compared by value with the narrow base, each block with its part of a base block."""
    before = models.model(3, "BF16")
    after = models.tuned(models.widened(before), 1, step=1e-6)
    base, new = models.save(tmp_path / "base", before), models.save(tmp_path / "new", after)
    narrow = models.save(tmp_path / "narrow", models.tuned(before, 2))
    (tmp_path / "work").mkdir()
    initialise(tmp_path / "work", base, by_value=True, crew=CREW)
    with Repository.open(tmp_path / "work") as repository:
        wide = commit(
            repository, Wish("wide"), CheckpointSource(new), CREW
        ).vector.statistics.amount
        back = commit(
            repository, Wish("back", onto="HEAD"), CheckpointSource(narrow), CREW
        ).vector.statistics.amount
        found = diff(repository, "HEAD~1", "HEAD", "role", CREW).total
    total = counted(before, after, [*before])
    assert (wide.elements, wide.changed_elements) == total[:2]
    assert float(wide.tau_norm) == pytest.approx(total[4], rel=1e-4)  # of the fp32 differences
    total = counted(after, models.tuned(before, 2), [*before])
    assert (back.elements, back.changed_elements) == (found.elements, found.changed_elements)
    assert back.changed_elements == total[1]
    assert float(back.tau_norm) == pytest.approx(total[4], rel=1e-6)
    assert found.tau_norm == pytest.approx(total[4], rel=1e-6)
    assert float(back.from_norm) == pytest.approx(total[5], rel=1e-6)
