"""DARE-linear: drop elements at random, rescale the others, add (arXiv 2311.03099).

For each element i of vector j, with a word of random bits from `pvc.merge.random_bits`:

    m_ij     1 where word_ij < floor(density * 2**32), else 0; always 1 at density 1
    result   lambda * sum over j of (scale_j / density) * m_ij * tau_ij

in float64, in the order of the vectors, rounded once.  This is the paper's rescaling: with the drop
rate p = 1 - density it divides by 1 - p, which leaves the expectation of every element as it was.
At density 1 it is the sum, bit for bit.  What is dropped counts as 0, be it Inf or NaN.

mergekit 0.1.5 (`dare_linear`) differs: it rescales each tensor by the ratio of its L1 norms before
and after dropping instead of by 1 / density, rounds each step to the dtype of its tensors, allows a
density for each model, and takes its bits from torch.  Its `normalize` is off by default, as here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pvc.codec.buffers import BUFFERS
from pvc.jit.decorator import jit
from pvc.merge import arithmetic
from pvc.merge.random_bits import Stream, fill

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pvc.codec.numbers import Floats
    from pvc.merge.method import Rule, TauBlock
    from pvc.merge.random_bits import Words

# Words at a time, a multiple of 4: they stay in the processor's cache.
CHUNK = 1 << 14


def merge(block: TauBlock, rule: Rule, out: Floats) -> None:
    """Write the merged block; see `pvc.merge.method.Kernel`."""
    scales = drop(block, rule)
    arithmetic.combine(block.taus, scales, rule.number("lambda"), out)


def drop(block: TauBlock, rule: Rule) -> NDArray[np.float64]:
    """Set what is dropped of each vector to 0, in place.

    Returns:
        Shape (k,): the scales, divided by the density.
    """
    density = rule.number("density")
    if density < 1:
        limit, seed = int(density * 2**32), rule.integer("seed")
        for row, tau in enumerate(block.taus):
            stream = Stream.of(seed, block.tensor, block.identity(row))
            for start in range(0, tau.size, CHUNK):
                part = tau[start : start + CHUNK]
                words = BUFFERS.back.view(np.uint32)[: -(-part.size // 4) * 4]
                fill(stream, block.first + start, words)
                _drop(words, limit, part)
    return block.scales / density


@jit
def _drop(words: Words, limit: int, tau: Floats) -> None:
    """Set elements to 0 whose word is not below the limit."""
    least = np.uint32(limit)
    zero = tau.dtype.type(0)
    for i in range(tau.size):
        tau[i] = tau[i] if words[i] < least else zero
