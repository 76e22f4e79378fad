"""From the names in a personality to the formula that it stands for.

Names are resolved within one commit, as a build system resolves its sources.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.personality.formula import Built, Formula, FormulaPart, Mix, Operand
from pvc.repo.personality.vector import CapturedVector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pvc.repo.personality.config import Config
    from pvc.repo.personality.personality_file import Personality
    from pvc.repo.personality.vector import Vector

MAX_DEPTH = 100
MAX_LINKS = 10_000


class UnresolvableError(PvcError):
    """A vector cannot be resolved.

    Attributes:
        name: its name.
        reason: why not.
    """

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(f"Vector {name} {reason}.")


def formula(config: Config, personality: Personality, vector: Callable[[str], Vector]) -> Formula:
    """What a personality is.

    Args:
        config: names the base.
        personality: the terms.
        vector: the vector of a name.

    Raises:
        UnresolvableError: a vector is relative to another base, or a derived vector is made of
            itself, or of too many others.
        NoVectorError: a term or a recipe names no vector.
    """
    names = Names(config, vector)
    return total(config, (names.part(term.vector, term.scale) for term in personality.terms))


def total(config: Config, parts: Iterable[FormulaPart]) -> Formula:
    """The base, and parts added to it in order."""
    found = Formula(config.base_tree, Built(config.base_tree, config.base_layout))
    for part in parts:
        found = found.add(part)
    return found


class Names:
    """What the names of vectors stand for in one commit; raises as `formula`.

    Args:
        config: names the base.
        vector: the vector of a name.
    """

    def __init__(self, config: Config, vector: Callable[[str], Vector]) -> None:
        self._config = config
        self._vector = vector
        self._known: dict[str, Operand] = {}
        self._counts: dict[str, int] = {}

    def part(self, name: str, scale: float, within: tuple[str, ...] = ()) -> FormulaPart:
        """A vector with a scale.

        Args:
            name: the vector.
            scale: factor of its tau.
            within: the derived vectors that it was found in.
        """
        if name not in self._known:
            if name in within or len(within) > MAX_DEPTH:
                first = within.index(name) if name in within else 0
                raise _too_deep((*within[first:], name))
            self._known[name] = self._operand(name, self._vector(name), within)
        return FormulaPart(scale, self._known[name], name)

    def _operand(self, name: str, vector: Vector, within: tuple[str, ...]) -> Operand:
        if not isinstance(vector, CapturedVector):
            recipe, inside = vector.recipe, (*within, name)
            parts = tuple(self.part(term.vector, term.scale, inside) for term in recipe.terms)
            self._counts[name] = sum(self._counts[term.vector] for term in recipe.terms)
            if self._counts[name] > MAX_LINKS:
                raise UnresolvableError(
                    name,
                    f"comes to {self._counts[name]} captured vectors, each as often as it occurs; "
                    f"{MAX_LINKS} are the most",
                )
            return Mix(recipe.rule, parts)
        self._counts[name] = 1
        if vector.base != self._config.base_tree:
            raise UnresolvableError(
                name,
                f"is relative to the base {vector.base.hex()[:12]}, "
                f"but the base of this commit is {self._config.base_tree.hex()[:12]}",
            )
        return vector.link


def _too_deep(names: tuple[str, ...]) -> UnresolvableError:
    """The error of derived vectors of which each is made of the next."""
    shown = " -> ".join((*names[:3], "...", names[-1]) if len(names) > 5 else names)
    others = "itself" if names[-1] in names[:-1] else f"others more than {MAX_DEPTH} deep"
    return UnresolvableError(names[0], f"cannot be made of {others}: {shown}")
