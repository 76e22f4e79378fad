"""Vectors, and all that `log` and `show` print of them.

A captured vector names two stored trees, `from` and `to`; tau = fp32(to) - fp32(from) is computed
from them and never stored.  A derived vector names others, and how they are combined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from pvc.repo.personality.formula import Link

if TYPE_CHECKING:
    from pvc.merge.method import Rule
    from pvc.repo.personality.personality_file import Term


@dataclass(frozen=True, slots=True)
class Amount:
    """How much a vector changes, in all or in one role.

    Attributes:
        elements: elements there are.
        changed_elements: elements whose value differs between `from` and `to`.
        tau_norm: Euclidean norm of tau, as a decimal text; "inf" beyond float64.
        from_norm: Euclidean norm of `from`, as a decimal text; "inf" beyond float64.
    """

    elements: int
    changed_elements: int
    tau_norm: str
    from_norm: str

    @property
    def changed_share(self) -> float:
        """Share of the elements that changed, 0 to 1."""
        return self.changed_elements / self.elements if self.elements else 0.0

    @property
    def relative_norm(self) -> float:
        """Norm of tau over the norm of `from`; 0 where `from` is zero."""
        size = float(self.from_norm)
        return float(self.tau_norm) / size if size else 0.0


@dataclass(frozen=True, slots=True)
class Statistics:
    """What was counted when the vector was captured.

    Attributes:
        amount: over all tensors.
        roles: by role of the tensors, sorted.
        tensors: number of tensors.
        changed_tensors: tensors of which anything changed.
        blocks: number of blocks.
        changed_blocks: blocks that differ between `from` and `to`.
        total_bytes: bytes of all tensors.
        stored_bytes: bytes that the store grew by.
    """

    amount: Amount
    roles: tuple[tuple[str, Amount], ...]
    tensors: int
    changed_tensors: int
    blocks: int
    changed_blocks: int
    total_bytes: int
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class CapturedVector:
    """A named pair of stored trees.

    Attributes:
        base: tree id of the base that both are stored against.
        from_tree: tree id of the weights that were trained.
        to_tree: tree id of the result.
        layout: layout id: how the result came as files.
        statistics: counts and norms of the change.
        provenance: where it came from, for people: origin, message, trainer, ...
        from_formula: digest of the formula that computed `from_tree`; None if it was captured.
    """

    base: bytes
    from_tree: bytes
    to_tree: bytes
    layout: bytes
    statistics: Statistics
    provenance: tuple[tuple[str, str], ...] = ()
    from_formula: bytes | None = None

    @property
    def link(self) -> Link:
        """The vector as it is computed with."""
        return Link(self.base, self.from_tree, self.to_tree, self.layout, self.from_formula)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a derived vector is made of others.

    Attributes:
        rule: the merge method and its parameters.
        terms: what is combined, in order; found in the same commit.
    """

    rule: Rule
    terms: tuple[Term, ...]

    def __str__(self) -> str:
        listed = " ".join(map(str, self.terms)).removeprefix("+ ")
        return f"{self.rule.method.name}({', '.join([listed, *self.rule.words])})"


@dataclass(frozen=True, slots=True)
class DerivedVector:
    """A named recipe; it has no trees of its own.

    Attributes:
        recipe: how it is made.
        counts: from a method that trims: "elements" of the model, and of each term "kept NAME" and
            "outvoted NAME".
        provenance: where it came from, for people.
    """

    recipe: Recipe
    counts: tuple[tuple[str, int], ...] = ()
    provenance: tuple[tuple[str, str], ...] = ()


Vector: TypeAlias = CapturedVector | DerivedVector
