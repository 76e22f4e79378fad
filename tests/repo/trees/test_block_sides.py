"""Sides of a result's elements, whatever the dtypes of the three trees are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from pvc.repo.commands.origin_evidence import OriginEvidence
from pvc.repo.trees.capture import CaptureOptions, capture
from pvc.weights.checkpoint import Checkpoint
from tests.repo.conftest import CREW
from tests.support import models

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pvc.repo.repository import Repository
    from tests.support.models import Model, Raw

TORCH = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64}
SHAPES = {"large": (700, 1024), "small": (7,)}  # the first has pieces in several blocks


def as_dtype(raw: Raw, dtype: str) -> NDArray[np.uint8]:
    """The bytes of each element, rounded by torch."""
    wide = torch.from_numpy(models.numbers(raw).copy())
    narrow = wide.to(TORCH[dtype]).contiguous().view(torch.uint8)
    return narrow.numpy().reshape(wide.numel(), -1)


@pytest.mark.parametrize("dtypes", ["BF16 BF16 BF16", "BF16 F32 BF16", "BF16 F32 F32",
                                    "BF16 BF16 F32", "F16 F32 F16", "F16 F64 F64",
                                    "BF16 F32 F64"])  # fmt: skip
def test_counts_in_the_dtype_of_the_result(
    repository: Repository, tmp_path: Path, dtypes: str
) -> None:
    kinds = dtypes.split()
    exact = models.model(1, kinds[0], SHAPES)
    start = models.widened(exact, kinds[0])
    head = models.tuned(models.widened(start, kinds[1]), 2, step=2e-4)
    result = models.tuned(models.widened(head, kinds[2]), 3, step=1e-4, names=["small"])
    mixed = models.numbers(result["large"]).copy()
    mixed[::3] = models.numbers(start["large"])[::3]  # rows of the base, and some of neither
    mixed[::5] += 1e-3
    result["large"] = models.tensor(mixed, kinds[2])
    found = counted(repository, tmp_path, start, head, result)
    expected = np.zeros(3, np.int64)
    outside = 0
    for name in SHAPES:
        a, b, c = (as_dtype(model[name], kinds[2]) for model in (start, head, result))
        apart = (a != b).any(axis=1)
        expected += [
            int(apart.sum()),
            int((apart & (c == a).all(axis=1)).sum()),
            int((apart & (c == b).all(axis=1)).sum()),
        ]
        outside += int((~apart & (c != a).any(axis=1)).sum())
    assert [found.counts.differing, found.counts.one, found.counts.two] == expected.tolist()
    assert found.counts.outside == outside
    assert min(expected) > 1000


def counted(
    repository: Repository, folder: Path, start: Model, head: Model, result: Model
) -> OriginEvidence:
    """The evidence of a result, captured with a base and a HEAD of their own."""
    places = [
        models.save(folder / name, model)
        for name, model in (("start", start), ("head", head), ("result", result))
    ]
    store = repository.store
    from pvc.repo.trees.blocks import BaseFiles, Blocks
    from pvc_store.tree import Tree

    with store.writing() as writing, Blocks(writing, Tree([]), BaseFiles(None)) as empty:
        base = capture(Checkpoint.open(places[0]), empty, writing, CaptureOptions(None), CREW)
        with Blocks(writing, base.tree, BaseFiles(None)) as blocks:
            other = capture(Checkpoint.open(places[1]), blocks, writing, CaptureOptions(None), CREW)
            goal = CaptureOptions(base.tree, other=other.tree)
            found = capture(Checkpoint.open(places[2]), blocks, writing, goal, CREW)
    return OriginEvidence.of(one.sides for one in found.tensors)
