"""Where each tensor of a formula comes from: it is stored, or computed.

Arithmetic is for tensors of real floats that have one shape throughout.  All others (integers,
added, removed or reshaped tensors) combine by identity only: a part replaces what it was trained
from by what it leads to, at scale 1.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.codec.numbers import is_real
from pvc.errors import PvcError
from pvc.repo.personality.formula import Formula, FormulaPart, Link, Operand, links
from pvc.weights.quantised import CODE_BITS, partners

if TYPE_CHECKING:
    from collections.abc import Callable

    from pvc_store.tree import Tensor, Tree


class IdentityError(PvcError):
    """A tensor cannot be computed with, and a formula needs it to be.

    Attributes:
        name: the tensor.
        vector: the vector that changes it.
        reason: what arithmetic it would take.
    """

    def __init__(self, name: str, vector: str, reason: str) -> None:
        self.name = name
        self.vector = vector
        self.reason = reason
        super().__init__(
            f"{name} cannot be computed: {vector} changes it in its shape, or it holds no floats, "
            f"and {reason}."
        )


class QuantisedError(PvcError):
    """A tensor holds codes, or their scales, and a formula needs arithmetic on it.

    Attributes:
        name: the tensor.
        partner: the tensor that it means numbers with, or "its scales".
        vector: the vector that changes it.
    """

    def __init__(self, name: str, partner: str, vector: str) -> None:
        self.name = name
        self.partner = partner
        self.vector = vector
        super().__init__(
            f"{name} cannot be computed with: it is quantised, and means numbers only together "
            f"with {partner}; {vector} changes it."
        )


@dataclass(frozen=True, slots=True)
class Route:
    """Where one tensor comes from.

    Attributes:
        stored: the tensor to start from, or None if there is none in the end.
        base: the tensor as the base has it, or None if it has none.
        parts: what is added to it, in order; only for tensors of floats.
        rounded: whether it is brought to the base's kind, even if nothing is added.
    """

    stored: Tensor | None
    base: Tensor | None
    parts: tuple[FormulaPart, ...]
    rounded: bool

    @property
    def computed(self) -> bool:
        """Whether there is arithmetic to do."""
        return bool(self.parts) or self.rounded

    @property
    def form(self) -> Tensor | None:
        """A tensor of the kind and shape of the result, or None if there is none."""
        return self.base if self.computed else self.stored


class Router:
    """Finds the way to every tensor of a formula.

    Args:
        what: the formula.
        base: the base's tree.
        tree: the tree of an id.
        is_quantised: whether the base's own configuration says that it is quantised.
    """

    def __init__(
        self,
        what: Formula,
        base: Tree,
        tree: Callable[[bytes], Tree],
        is_quantised: Callable[[], bool],
    ) -> None:
        self._formula = what
        self._base = base
        self._tree = tree
        narrow = [
            one.name for one in base.values() if one.kind.bits <= CODE_BITS and is_real(one.kind)
        ]
        self._partners = partners(base, narrow)
        self._is_quantised = functools.cache(is_quantised)

    def routes(self) -> dict[str, Route]:
        """The route of every tensor that the start, the base or a vector has.

        Raises:
            IdentityError, QuantisedError: one takes arithmetic that it is not fit for.
        """
        trees = [self._base, self._tree(self._formula.start.tree)]
        trees += [self._tree(link.to_tree) for link in self._formula.links]
        names = {name for tree in trees for name in tree}
        return {name: self._route(name) for name in sorted(names)}

    def _route(self, name: str) -> Route:
        base = self._base.get(name)
        current = self._tree(self._formula.start.tree).get(name)
        parts: list[FormulaPart] = []
        for part in self._formula.parts:
            if not self._changes(part.operand, name):
                continue
            if _is_like(base, current) and self._is_arithmetic(part.operand, name, base):
                partner = self._partner(name, base)
                if partner is not None:
                    raise QuantisedError(name, partner, part.label)
                parts.append(part)
                continue
            if parts:
                raise IdentityError(name, part.label, "other vectors change it too")
            current = self._replaced(part, name, current)
        wider = base is not None and current is not None and current.kind != base.kind
        return Route(current, base, tuple(parts), wider and _is_like(base, current))

    def _partner(self, name: str, base: Tensor | None) -> str | None:
        """What a tensor means numbers with, or None if it is one of numbers."""
        if name in self._partners:
            return self._partners[name]
        narrow = base is not None and base.kind.bits <= CODE_BITS
        return "its scales" if narrow and self._is_quantised() else None

    def _changes(self, operand: Operand, name: str) -> bool:
        return any(
            self._tree(link.from_tree).get(name) != self._tree(link.to_tree).get(name)
            for link in links(operand)
        )

    def _is_arithmetic(self, operand: Operand, name: str, base: Tensor | None) -> bool:
        return all(
            _is_like(base, self._tree(tree).get(name))
            for link in links(operand)
            for tree in (link.from_tree, link.to_tree)
        )

    def _replaced(self, part: FormulaPart, name: str, current: Tensor | None) -> Tensor | None:
        link = part.operand
        if not isinstance(link, Link):
            raise IdentityError(name, part.label, "it is derived from others")
        before, after = self._tree(link.from_tree).get(name), self._tree(link.to_tree).get(name)
        if part.scale != 1:
            raise IdentityError(name, part.label, f"its scale is {part.scale:g}, not 1")
        if current not in {before, after}:
            raise IdentityError(name, part.label, "it was trained from another tensor")
        return after


def _is_like(base: Tensor | None, tensor: Tensor | None) -> bool:
    """Whether a tensor holds real floats, as many as the base's and no narrower."""
    if base is None or tensor is None:
        return False
    real = is_real(base.kind) and is_real(tensor.kind)
    return real and base.shape == tensor.shape and tensor.kind.bits >= base.kind.bits
