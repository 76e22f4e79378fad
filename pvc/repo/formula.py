"""What a personality is, before any weights are read: a tree to start from, and what is added.

While each term is captured, has scale 1, and starts at the tree reached so far (the first one at
base), nothing need be computed: the tree reached is recorded and stored.  A vector that was trained
from a computed tree starts at it too, which is told by the digest of what was computed.

Terms that cancel to a vector itself, such as a negated negation, are that vector.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TypeAlias

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
        origin: tree id of `from`.
        result: tree id of `to`.
        layout: layout id of `to`.
        recipe: digest of the formula that `from` was computed by; None if `from` was captured.
    """

    base: bytes
    origin: bytes
    result: bytes
    layout: bytes
    recipe: bytes | None = None


@dataclass(frozen=True, slots=True)
class Mix:
    """Vectors combined by a method.

    Attributes:
        method: "sum" or "ties".
        parts: what is combined, in order.
        density: the share of each vector that "ties" keeps.
        factor: what the result is multiplied by.
    """

    method: str
    parts: tuple[Part, ...]
    density: float = 1.0
    factor: float = 1.0

    def digest(self) -> bytes:
        """Identifies the result of the combination, but for layouts and labels."""
        return object_id(json.dumps([ARITHMETIC, _canonical(self)]).encode())


Operand: TypeAlias = Link | Mix


@dataclass(frozen=True, slots=True)
class Part:
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
    parts: tuple[Part, ...] = ()

    @property
    def exact(self) -> Built | None:
        """What it is, if nothing need be computed."""
        return None if self.parts else self.start

    def digest(self) -> bytes:
        """Identifies the tree that it computes."""
        document = [ARITHMETIC, self.start.tree.hex(), [_canonical(part) for part in self.parts]]
        return object_id(json.dumps(document).encode())

    def add(self, part: Part) -> Formula:
        """The formula with one part more."""
        part = reduced(part)
        operand = part.operand
        if part.scale == 0:
            return self
        if part.scale == 1 and isinstance(operand, Link):
            reached = operand.origin == self.start.tree and not self.parts
            if reached or (self.parts and operand.recipe == self.digest()):
                return Formula(self.base, Built(operand.result, operand.layout))
        return Formula(self.base, self.start, (*self.parts, part))


def _canonical(item: Operand | Part) -> list[object]:
    if isinstance(item, Link):
        return [item.origin.hex(), item.result.hex()]
    if isinstance(item, Part):
        return [float(item.scale).hex(), _canonical(item.operand)]
    parts = [_canonical(part) for part in item.parts]
    return [item.method, item.density.hex(), item.factor.hex(), parts]


def reduced(part: Part) -> Part:
    """The same part, where a combination of one vector alone is that vector with a scale.

    It stays a combination where that scale would exceed float64.
    """
    while isinstance(part.operand, Mix):
        mix = part.operand
        parts = tuple(reduced(inner) for inner in mix.parts if inner.scale != 0)
        whole = mix.method == "sum" or mix.density == 1
        scale = part.scale * mix.factor * parts[0].scale if parts else 0.0
        if len(parts) != 1 or not whole or not math.isfinite(scale):
            mix = Mix(mix.method, parts, mix.density, mix.factor)
            return Part(part.scale if parts and mix.factor else 0.0, mix, part.label)
        part = Part(scale, parts[0].operand, part.label)
    return part
