"""DARE-TIES: drop elements at random, rescale the others, elect signs, add what agrees.

Drop and rescale are those of `pvc.merge.dare_linear` (arXiv 2311.03099), the election is that of
TIES (arXiv 2306.01708).  For each element i, with v_ij = (scale_j / density) * m_ij * tau_ij:

    s_i      1 where the sum over j of v_ij is at least 0, else -1
    result   lambda * sum of the v_ij whose sign is s_i

in float64, in the order of the vectors, rounded once.  A NaN that is not dropped makes the result
NaN.  At density 1, where one vector alone agrees, it is TIES without trimming, bit for bit.

This is what mergekit 0.1.5 calls `dare_ties`: scaled votes, a sum of 0 is positive, and the result
is not divided (its `normalize` is off by default).  mergekit's rescaling differs, see
`pvc.merge.dare_linear`.  The paper's own experiments trim once more and divide by how many vectors
agree, as TIES does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pvc.merge import ties
from pvc.merge.dare_linear import drop
from pvc.merge.ties_dialects import UNDIVIDED

if TYPE_CHECKING:
    from pvc.codec.numbers import Floats
    from pvc.merge.method import Rule, TauBlock


def merge(block: TauBlock, rule: Rule, out: Floats) -> None:
    """Write the merged block; see `pvc.merge.method.Kernel`."""
    scales = drop(block, rule)
    terms = ties.Terms(scales, np.zeros(len(scales)), UNDIVIDED)
    ties.combine(block.taus, terms, rule.number("lambda"), 1, out)
