"""The merge methods, a row each.

Recipes, formulas, their digests and files, `pvc merge`, its help and the table in
docs/format/vector.md follow from these rows.  The kernel of a method is `merge` in the module of
its name.

Limits: name, parameters and their order are stored for ever.  A parameter that a method gets later
is optional, and its last.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pvc.merge import ties_dialects
from pvc.merge.method import Method, ParameterError, Rule, linear, linear_in_parts
from pvc.merge.parameters import Choice, Integer, Number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pvc.merge.parameters import Value

DENSITY = Number(
    name="density",
    help="Share of each vector's elements that is kept.",
    metavar="D",
    default=1.0,
    above=0.0,
    at_most=1.0,
)
LAMBDA = Number(
    name="lambda", help="Factor of the result.", metavar="L", default=1.0, is_quiet=True
)
COMPAT = Choice(
    name="compat",
    help="Program whose rule is followed instead of the authors'.",
    choices=ties_dialects.COMPAT,
    is_quiet=True,
)
SEED = Integer(
    name="seed",
    help="Seed of the random bits: another one drops other elements.",
    metavar="N",
    default=0,
    least=0,
    most=2**32 - 1,
)
"""The default is fixed, so that the same words make the same recipe, and so the same weights."""

METHODS = {
    method.name: method
    for method in (
        Method(
            name="sum",
            help="Add vectors.",
            paper="Editing Models with Task Arithmetic, arXiv 2212.04089",
            parameters=(
                replace(DENSITY, offered=False),
                LAMBDA,
                replace(COMPAT, offered=False, choices=()),
            ),
            effect=linear,
        ),
        Method(
            name="ties",
            help="Trim vectors, elect signs, average what agrees.",
            paper="TIES-Merging: Resolving Interference When Merging Models, arXiv 2306.01708",
            parameters=(replace(DENSITY, default=0.2), LAMBDA, COMPAT),
            effect=ties_dialects.effect,
            facts=ties_dialects.trimming,
            objection=ties_dialects.objection,
        ),
        Method(
            name="dare_linear",
            help="Drop elements at random, rescale the others, add.",
            paper="Language Models are Super Mario, arXiv 2311.03099",
            parameters=(replace(DENSITY, default=0.5), LAMBDA, SEED),
            effect=linear_in_parts,
        ),
        Method(
            name="dare_ties",
            help="Drop elements at random, rescale, elect signs, add what agrees.",
            paper="Language Models are Super Mario, arXiv 2311.03099",
            parameters=(replace(DENSITY, default=0.5), LAMBDA, SEED),
            effect=linear_in_parts,
        ),
    )
}


def rule(method: str, given: Mapping[str, Value] | None = None) -> Rule:
    """A method with some parameters given, and the others at their defaults.

    Raises:
        ParameterError: there is no such method, it has no such parameter, or a value is not
            allowed.
    """
    if method not in METHODS:
        raise ParameterError(method, f"there is no such method, but {', '.join(METHODS)}")
    return METHODS[method].rule(given)


SUM = rule("sum")
"""Vectors with their scales, added."""
