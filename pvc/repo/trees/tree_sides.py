"""A result beside two other trees, all of them stored: whose elements it has where these differ.

Some blocks of each tensor are looked at: it is a share that is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pvc import parallel
from pvc.codec import SideCounts, count_sides
from pvc.codec.numbers import is_real
from pvc.repo.trees.rounded_elements import rounded_elements
from pvc_store.block import BLOCK_BYTES

if TYPE_CHECKING:
    from pvc.parallel import Crew, Stop
    from pvc.repo.trees.blocks import Blocks
    from pvc_store.tree import Tensor, Tree

SAMPLE = 2
"""Blocks of each tensor."""

Three = tuple["Tensor", "Tensor", "Tensor"]


def tree_sides(blocks: Blocks, result: Tree, one: Tree, two: Tree, crew: Crew) -> list[SideCounts]:
    """The counts of each tensor in which `one` and `two` differ, in the result's dtype.

    Tensors that one of the three does not have, or has in another shape, do not count.

    Args:
        blocks: gives the blocks of all three.
        result: the result.
        one: a tree that it may have started from.
        two: another one.
        crew: threads and progress.
    """
    jobs: list[Three] = [
        (result[name], one[name], two[name])
        for name in result.keys() & one.keys() & two.keys()
        if one[name].digest != two[name].digest and _comparable(result[name], one[name], two[name])
    ]
    crew.progress.start(
        "Comparing", sum(min(new.nbytes, SAMPLE * BLOCK_BYTES) for new, _, _ in jobs)
    )
    found: list[SideCounts] = []

    def count(job: Three, stop: Stop) -> None:
        found.append(_sides(blocks, job, stop, crew))

    parallel.run(sorted(jobs, key=lambda job: -job[0].nbytes), count, crew.threads)
    return found


def _comparable(new: Tensor, one: Tensor, two: Tensor) -> bool:
    if not new.shape == one.shape == two.shape:
        return False
    kinds = {new.kind, one.kind, two.kind}
    return len(kinds) == 1 or all(map(is_real, kinds))


def _sides(blocks: Blocks, job: Three, stop: Stop, crew: Crew) -> SideCounts:
    (new, one, two), counts = job, SideCounts()
    width = max(1, new.kind.bits // 8)
    step = BLOCK_BYTES // max(8, width)  # elements; whatever they are widened to is at most a block
    if new.kind == one.kind == two.kind:
        step = BLOCK_BYTES // width
    for start in _sample(job, step * width):
        stop.check()
        size = min(step * width, new.nbytes - start)
        raw = blocks.elements(new, start, size).copy()
        at, count = start // width, size // width
        if new.kind == one.kind == two.kind:
            first = blocks.elements(one, start, size).copy()
            second = blocks.elements(two, start, size)
        else:
            first = rounded_elements(blocks, one, at, count, new.kind)
            second = rounded_elements(blocks, two, at, count, new.kind)
        counts += count_sides(first, second, raw, new.kind)
        crew.progress.advance(size)
    return counts


def _sample(job: Three, step: int) -> list[int]:
    """First bytes of the pieces to look at: of those in which the two trees differ, if known."""
    new, one, two = job
    starts = list(range(0, new.nbytes, step))
    if step == BLOCK_BYTES and one.kind == two.kind == new.kind:
        starts = [at for at in starts if one.key(at // step) != two.key(at // step)]
    few = SAMPLE * max(1, BLOCK_BYTES // step)
    return starts if len(starts) <= few else [starts[len(starts) * i // few] for i in range(few)]
