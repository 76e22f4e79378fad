"""The rules that go by the name of TIES, told apart by what differs between them.

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
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Rates(NamedTuple):
    """What a vector counts for.

    Attributes:
        vote: factor of its tau in the election.
        share: factor of its vote in the result.
        weight: what the result is divided by for it, where it agrees.
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
        scaled_mean: whether the mean divides by scales.
        zero_sum: the sign where votes add up to 0; None for the majority of the model.
        has_factor: whether there is a lambda.
    """

    rank: Callable[[int, float], int]
    per_tensor: bool = True
    scaled_votes: bool = True
    scaled_mean: bool = False
    zero_sum: int | None = 1
    has_factor: bool = True

    def rates(self, scale: float) -> Rates:
        """What a vector of some scale counts for."""
        weight = scale if self.scaled_mean else 1.0
        return Rates(scale, 1.0, weight) if self.scaled_votes else Rates(1.0, scale, weight)

    def alone(self, scale: float) -> float:
        """What a vector that is combined with no other, and kept whole, is multiplied by."""
        return 1.0 if self.scaled_mean and scale else scale

    @property
    def is_linear(self) -> bool:
        """Whether a vector twice as long at half the scale comes to the same."""
        return self.scaled_votes and not self.scaled_mean


def rank_of(elements: int, density: float) -> int:
    """The authors' rank: the threshold is the (d - int(d * density))-th smallest magnitude."""
    return elements - int(elements * density)


def rank_of_largest(elements: int, count: int) -> int:
    """The rank by which just the `count` largest are kept, if no two are equal."""
    return elements - count + 1 if count < elements else 0


AUTHORS = Dialect(rank_of, per_tensor=False, zero_sum=None)
MERGEKIT = Dialect(
    lambda elements, density: rank_of_largest(elements, max(1, int(elements * density))),
    scaled_mean=True,
)
PEFT = Dialect(
    lambda elements, density: rank_of_largest(elements, int(elements * density)),
    scaled_votes=False,
    has_factor=False,
)

DIALECTS: Mapping[str | None, Dialect] = {None: AUTHORS, "mergekit": MERGEKIT, "peft": PEFT}
"""By what recipes call them."""

COMPAT = tuple(name for name in DIALECTS if name is not None)
"""The names that a recipe may have."""
