"""What a personality is, before any weights are read: a tree to start from, and what is added.

While each term is captured, has scale 1, and starts at the tree reached so far (the first one at
base), nothing need be computed: the tree reached is recorded and stored.  A vector that was trained
from a computed tree starts at it too: it names the digest of the formula of that tree.

Terms that cancel to a vector itself, such as a negated negation, are that vector.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

from pvc_store.ids import object_id

if TYPE_CHECKING:
    from pvc.merge.method import Rule, ScaleEffect

ARITHMETIC = 1
"""Version of the arithmetic: it changes when the same formula would give other numbers."""
ROUNDING = 2
"""Version of how these numbers become bits; version 1 rounded F32 at every step."""


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
        from_tree: tree id of the weights that were trained.
        to_tree: tree id of the result.
        layout: layout id of the result.
        from_formula: digest of the formula that computed `from_tree`; None if it was captured.
    """

    base: bytes
    from_tree: bytes
    to_tree: bytes
    layout: bytes
    from_formula: bytes | None = None

    def digest(self) -> bytes:
        """Identifies the vector, but for its layout."""
        return _digest(self)


@dataclass(frozen=True, slots=True)
class Mix:
    """Vectors combined by a method.

    Attributes:
        rule: the merge method and its parameters.
        parts: what is combined, in order.
    """

    rule: Rule
    parts: tuple[FormulaPart, ...]

    def digest(self) -> bytes:
        """Identifies the result of the combination, but for layouts and labels."""
        return _digest(self)


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
        rounded: whether a start with wider floats than the base's is rounded to these, although
            nothing is added.
    """

    base: bytes
    start: Built
    parts: tuple[FormulaPart, ...] = ()
    rounded: bool = False

    @property
    def exact(self) -> Built | None:
        """What it is, if nothing need be computed."""
        return None if self.parts or self.rounded else self.start

    def digest(self) -> bytes:
        """Identifies the tree that it computes."""
        document: list[object] = [
            ARITHMETIC, self.start.tree.hex(), [_canonical(part) for part in self.parts],
        ]  # fmt: skip
        return object_id(json.dumps(document + ["rounded"] * self.rounded).encode())

    def in_dtypes_of_base(self) -> Formula:
        """The formula with the base's dtypes, which whatever is computed has anyway."""
        return self if self.parts else replace(self, rounded=True)

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


def identity(operand: Operand) -> bytes:
    """32 bytes that are a vector's own, whatever its name and scale are."""
    return reduced(FormulaPart(1.0, operand)).operand.digest()


def _digest(operand: Operand) -> bytes:
    return object_id(json.dumps([ARITHMETIC, _canonical(operand)]).encode())


def _canonical(item: Operand | FormulaPart) -> list[object]:
    if isinstance(item, Link):
        return [item.from_tree.hex(), item.to_tree.hex()]
    if isinstance(item, FormulaPart):
        return [float(item.scale).hex(), _canonical(item.operand)]
    rule, parts = item.rule, [_canonical(part) for part in item.parts]
    values = [(one, one.exact(rule[one.name])) for one in rule.method.parameters]
    needed = [exact for one, exact in values if not one.is_optional]
    optional = [exact for one, exact in values if one.is_optional]
    while optional and optional[-1] is None:  # so that a method can get a parameter later
        optional.pop()
    return [rule.method.name, *needed, parts, *optional]


def reduced(part: FormulaPart) -> FormulaPart:
    """The same part, where a combination of one vector alone is that vector with a scale.

    It stays a combination where that scale would exceed float64.
    """
    while isinstance(part.operand, Mix):
        effect = part.operand.rule.effect
        parts = _reduced_parts(part.operand.parts, effect)
        scale = math.nan
        if len(parts) == 1 and effect.alone is not None:
            scale = part.scale * effect.factor * effect.alone(parts[0].scale)
        if not math.isfinite(scale):
            mix = replace(part.operand, parts=parts)
            return FormulaPart(part.scale if parts and effect.factor else 0.0, mix, part.label)
        part = FormulaPart(scale, parts[0].operand, part.label)
    return part


def _reduced_parts(parts: tuple[FormulaPart, ...], effect: ScaleEffect) -> tuple[FormulaPart, ...]:
    """The parts of a combination, each reduced as far as its scale may change."""
    needed = (part for part in parts if part.scale != 0 or not effect.ignores_zero)
    return tuple(map(reduced if effect.is_linear else _reduced_within, needed))


def _reduced_within(part: FormulaPart) -> FormulaPart:
    """The same part with its own scale, which says more than how long the vector is."""
    from pvc.merge.methods import SUM

    inner = reduced(FormulaPart(1.0, part.operand))
    operand = inner.operand if inner.scale == 1 else Mix(SUM, (inner,))
    return FormulaPart(part.scale, operand, part.label)
