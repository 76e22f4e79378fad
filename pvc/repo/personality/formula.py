"""What a personality is, before any weights are read: a tree to start from, and what is added.

While each term is captured, has scale 1, and starts at the tree reached so far (the first one at
base), nothing need be computed: the tree reached is recorded and stored.  A vector that was trained
from a computed tree starts at it too, which is told by the digest of what was computed.

Terms that cancel to a vector itself, such as a negated negation, are that vector.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from pvc.merge.dialect import DIALECTS, Dialect
from pvc_store.ids import object_id

ARITHMETIC = 1
"""Version of the arithmetic: it changes when the same formula would give other bits."""


@dataclass(frozen=True, slots=True)
class Built:
    """What a personality is as weights and files.

    Attributes:
        tree: tree id.
        layout: layout id: how it becomes files.
    """

    tree: bytes
    layout: bytes


@dataclass(frozen=True, slots=True)
class Link:
    """A captured vector as it is computed with.

    Attributes:
        base: tree id of the base that it is relative to.
        from_tree: tree id of what was trained.
        to_tree: tree id of the result.
        layout: layout id of the result.
        from_formula: digest of the formula that computed `from_tree`; None if it was captured.
    """

    base: bytes
    from_tree: bytes
    to_tree: bytes
    layout: bytes
    from_formula: bytes | None = None


@dataclass(frozen=True, slots=True)
class Mix:
    """Vectors combined by a method.

    Attributes:
        method: "sum" or "ties".
        parts: what is combined, in order.
        density: the share of each vector that "ties" keeps.
        factor: what the result is multiplied by.
        compat: whose rule "ties" follows, a key of `dialect.DIALECTS`; None for the authors'.
    """

    method: str
    parts: tuple[FormulaPart, ...]
    density: float = 1.0
    factor: float = 1.0
    compat: str | None = None

    @property
    def dialect(self) -> Dialect:
        """The rule of "ties"."""
        return DIALECTS[self.compat]

    def digest(self) -> bytes:
        """Identifies the result of the combination, but for layouts and labels."""
        return object_id(json.dumps([ARITHMETIC, _canonical(self)]).encode())


Operand: TypeAlias = Link | Mix


@dataclass(frozen=True, slots=True)
class FormulaPart:
    """A vector with a scale.

    Attributes:
        scale: factor of its tau.
        operand: what tau is computed from.
        label: what people call it.
    """

    scale: float
    operand: Operand
    label: str = field(compare=False, default="")


@dataclass(frozen=True, slots=True)
class Formula:
    """A stored tree, and what is added to it.

    Attributes:
        base: tree id of the base.
        start: the tree reached without arithmetic.
        parts: what is added, in order; none if the start is all.
    """

    base: bytes
    start: Built
    parts: tuple[FormulaPart, ...] = ()

    @property
    def exact(self) -> Built | None:
        """What it is, if nothing need be computed."""
        return None if self.parts else self.start

    def digest(self) -> bytes:
        """Identifies the tree that it computes."""
        document = [ARITHMETIC, self.start.tree.hex(), [_canonical(part) for part in self.parts]]
        return object_id(json.dumps(document).encode())

    @property
    def links(self) -> list[Link]:
        """The captured vectors that are computed with."""
        return [link for part in self.parts for link in links(part.operand)]

    def add(self, part: FormulaPart) -> Formula:
        """The formula with one part more."""
        part = reduced(part)
        operand = part.operand
        if part.scale == 0:
            return self
        if part.scale == 1 and isinstance(operand, Link):
            reached = operand.from_tree == self.start.tree and not self.parts
            if reached or (self.parts and operand.from_formula == self.digest()):
                return Formula(self.base, Built(operand.to_tree, operand.layout))
        return Formula(self.base, self.start, (*self.parts, part))


def links(operand: Operand) -> list[Link]:
    """The captured vectors that a vector is made of."""
    if isinstance(operand, Link):
        return [operand]
    return [link for part in operand.parts for link in links(part.operand)]


def _canonical(item: Operand | FormulaPart) -> list[object]:
    if isinstance(item, Link):
        return [item.from_tree.hex(), item.to_tree.hex()]
    if isinstance(item, FormulaPart):
        return [float(item.scale).hex(), _canonical(item.operand)]
    parts = [_canonical(part) for part in item.parts]
    compat = [] if item.compat is None else [item.compat]
    return [item.method, item.density.hex(), item.factor.hex(), parts, *compat]


def reduced(part: FormulaPart) -> FormulaPart:
    """The same part, where a combination of one vector alone is that vector with a scale.

    It stays a combination where that scale would exceed float64.
    """
    while isinstance(part.operand, Mix):
        mix = replace(part.operand, parts=_reduced_parts(part.operand))
        parts = mix.parts
        whole = mix.method == "sum" or mix.density == 1
        scale = part.scale * mix.factor * mix.dialect.alone(parts[0].scale) if parts else 0.0
        if len(parts) != 1 or not whole or not math.isfinite(scale):
            return FormulaPart(part.scale if parts and mix.factor else 0.0, mix, part.label)
        part = FormulaPart(scale, parts[0].operand, part.label)
    return part


def _reduced_parts(mix: Mix) -> tuple[FormulaPart, ...]:
    """The parts of a combination, each reduced as far as its scale may change."""
    voters = (part for part in mix.parts if part.scale != 0 or not mix.dialect.scaled_votes)
    return tuple(map(reduced if mix.dialect.is_linear else _reduced_within, voters))


def _reduced_within(part: FormulaPart) -> FormulaPart:
    """The same part with its own scale, which says more than how long the vector is."""
    inner = reduced(FormulaPart(1.0, part.operand))
    operand = inner.operand if inner.scale == 1 else Mix("sum", (inner,))
    return FormulaPart(part.scale, operand, part.label)
