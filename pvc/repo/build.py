"""Building a personality: from base and terms to the tree that they name.

The exact chain needs no arithmetic: while each term is captured, has scale 1, and starts at the
tree reached so far (the first one at base), the tree reached is recorded and stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.errors import PvcError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pvc.repo.config import Config
    from pvc.repo.personality import Personality, Term


class NotYetError(PvcError):
    """Something that this version of pvc cannot do yet.

    Attributes:
        what: what was asked for.
        reason: why it cannot be had.
    """

    def __init__(self, what: str, reason: str) -> None:
        self.what = what
        self.reason = reason
        super().__init__(f"{what} cannot be built yet: {reason}.")


class ForeignVectorError(PvcError):
    """A vector is relative to another base than the repository's.

    Attributes:
        name: its name.
    """

    def __init__(self, name: str, found: bytes, expected: bytes) -> None:
        self.name = name
        super().__init__(
            f"Vector {name} is relative to the base {found.hex()[:12]}, "
            f"but the base of this commit is {expected.hex()[:12]}."
        )


@dataclass(frozen=True, slots=True)
class Built:
    """What a personality is.

    Attributes:
        tree: tree id.
        layout: layout id: how it becomes files.
    """

    tree: bytes
    layout: bytes


@dataclass(frozen=True, slots=True)
class Link:
    """A captured vector as a link of a chain.

    Attributes:
        base: tree id of the base that it is relative to.
        origin: tree id of `from`.
        result: tree id of `to`.
        layout: layout id of `to`.
    """

    base: bytes
    origin: bytes
    result: bytes
    layout: bytes


def build(config: Config, personality: Personality, vector: Callable[[str], Link]) -> Built:
    """The tree and layout of a personality.

    Args:
        config: names the base.
        personality: the terms.
        vector: gives the link that a name stands for.

    Raises:
        NotYetError: it is no exact chain.
        ForeignVectorError: a term is relative to another base.
        NoVectorError: a term names no vector.
    """
    reached = Built(config.base_tree, config.base_layout)
    for term in personality.terms:
        found = vector(term.vector)
        if found.base != config.base_tree:
            raise ForeignVectorError(term.vector, found.base, config.base_tree)
        _check_exact(personality, term, found, reached)
        reached = Built(found.result, found.layout)
    return reached


def _check_exact(personality: Personality, term: Term, found: Link, reached: Built) -> None:
    if term.scale != 1:
        reason = f"the term {term.vector} has the scale {term.scale:g}, and only 1 is exact"
        raise NotYetError(str(personality), reason)
    if found.origin != reached.tree:
        reason = (
            f"the term {term.vector} starts at the tree {found.origin.hex()[:12]}, but the terms "
            f"before it lead to {reached.tree.hex()[:12]}, and sums need arithmetic"
        )
        raise NotYetError(str(personality), reason)
