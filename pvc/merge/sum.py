"""Sums of task vectors, as in Task Arithmetic (arXiv 2212.04089).

lambda * (scale_1 * tau_1 + scale_2 * tau_2 + ...)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pvc.merge import arithmetic

if TYPE_CHECKING:
    from pvc.codec.numbers import Floats
    from pvc.merge.method import Rule, TauBlock


def merge(block: TauBlock, rule: Rule, out: Floats) -> None:
    """Write the sum of a block; see `pvc.merge.method.Kernel`."""
    arithmetic.combine(block.taus, block.scales, rule.number("lambda"), out)
