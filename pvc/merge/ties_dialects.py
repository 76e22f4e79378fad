"""Three programs compute something that they call TIES: where their rules differ.

                     authors (the paper)       mergekit 0.1.5            PEFT 0.21
    trimmed          the model as one          each tensor               each tensor
    kept             int(d * density) + 1      max(1, int(d * density))  int(d * density)
    elected by       scale * tau               scale * tau               tau
    a sum of 0       majority of the model     positive                  positive
    divided by       number that agree         scales that agree, added  number that agree
    lambda           yes                       yes                       none

d is the number of elements of a vector, in the model or in the tensor; at density 1 all are kept.
What is exactly as large as the smallest that is kept is kept too, by every rule.

Limits: the others compute in the dtype of their tensors, and keep just as many as the table says,
in an order among equals that depends on a sort.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from pvc.merge.method import ScaleEffect

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pvc.merge.method import Rule
    from pvc.merge.parameters import Value


class Rates(NamedTuple):
    """The factors of one vector in the sums of TIES.

    Attributes:
        vote: of its tau in the election.
        share: of its vote in the result.
        weight: its part of the divisor, where it agrees.
    """

    vote: float
    share: float
    weight: float


@dataclass(frozen=True, slots=True)
class Dialect:
    """One rule.

    Attributes:
        rank: of elements and density, which magnitude is the threshold: the so many-th smallest;
            0 if all are kept, one more than there are if none is.
        per_tensor: whether each tensor is trimmed by itself.
        scaled_votes: whether votes are scaled.
        divisor: what the sum of the agreeing votes is divided by: how many they are, their scales
            added, or nothing.
        zero_sum: the sign where votes add up to 0; None for the majority of the model.
        has_factor: whether there is a lambda.
    """

    rank: Callable[[int, float], int]
    per_tensor: bool = True
    scaled_votes: bool = True
    divisor: Literal["number", "scales", "nothing"] = "number"
    zero_sum: int | None = 1
    has_factor: bool = True

    def rates(self, scale: float) -> Rates:
        """The factors of a vector of some scale."""
        weight = {"number": 1.0, "scales": scale, "nothing": 0.0}[self.divisor]
        return Rates(scale, 1.0, weight) if self.scaled_votes else Rates(1.0, scale, weight)

    def alone(self, scale: float) -> float:
        """The scale to which TIES of one vector, kept whole, reduces."""
        return 1.0 if self.divisor == "scales" and scale else scale

    @property
    def is_linear(self) -> bool:
        """Whether a vector twice as long at half the scale comes to the same."""
        return self.scaled_votes and self.divisor != "scales"


def rank_of(elements: int, density: float) -> int:
    """The authors' rank: the threshold is the (d - int(d * density))-th smallest magnitude."""
    return elements - int(elements * density)


def rank_of_largest(elements: int, count: int) -> int:
    """The rank by which just the `count` largest are kept, if no two are equal."""
    return elements - count + 1 if count < elements else 0


AUTHORS = Dialect(rank_of, per_tensor=False, zero_sum=None)
MERGEKIT = Dialect(
    lambda elements, density: rank_of_largest(elements, max(1, int(elements * density))),
    divisor="scales",
)
PEFT = Dialect(
    lambda elements, density: rank_of_largest(elements, int(elements * density)),
    scaled_votes=False,
    has_factor=False,
)
UNDIVIDED = Dialect(lambda _elements, _density: 0, divisor="nothing")
"""No trimming, and a sum instead of a mean: what comes after DARE."""

DIALECTS: Mapping[Value, Dialect] = {None: AUTHORS, "mergekit": MERGEKIT, "peft": PEFT}
"""By what recipes call them."""

COMPAT = tuple(name for name in DIALECTS if isinstance(name, str))
"""The names that a recipe may have."""


class Trimming(NamedTuple):
    """What has to be found before TIES: how much of each vector is kept, and the majority sign.

    Attributes:
        dialect: how thresholds are chosen, and what is elected.
        density: the share of each vector that is kept, above 0 to 1.
    """

    dialect: Dialect
    density: float

    def rank(self, elements: int) -> int:
        """Which magnitude of so many is the threshold; see `Dialect.rank`."""
        return self.dialect.rank(elements, self.density)


def trimming(rule: Rule) -> Trimming:
    """What `ties` has to know."""
    return Trimming(_dialect(rule), rule.number("density"))


def effect(rule: Rule) -> ScaleEffect:
    """What scales do in `ties`."""
    dialect = _dialect(rule)
    return ScaleEffect(
        factor=rule.number("lambda"),
        ignores_zero=dialect.scaled_votes,
        is_linear=dialect.is_linear,
        alone=dialect.alone if rule["density"] == 1 else None,
        divides=dialect.divisor == "scales",
    )


def objection(rule: Rule) -> str | None:
    """Why a dialect has no lambda."""
    if rule["lambda"] == 1 or _dialect(rule).has_factor:
        return None
    return f"{rule['compat']} has no lambda, which is {rule['lambda']} here and not 1"


def _dialect(rule: Rule) -> Dialect:
    return DIALECTS[rule["compat"]]
