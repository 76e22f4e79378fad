"""The personality: base plus a sum of terms, in order.  `personality.toml`, format page of its own.

[[term]]
vector = "listening"
scale = 1.0
"""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pvc.errors import MalformedError
from pvc.repo.personality.vector_names import VectorNameError, check_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tomlkit import TOMLDocument
    from tomlkit.items import Table

PATH = "personality.toml"
EMPTY = """\
# What this commit is: the base plus these terms, in order.
# People and pvc edit this file; `pvc commit -m MESSAGE` commits what people edited.
"""
MAX_TERMS = 10_000
MAX_CHARACTERS = 4 << 20

_KEYS = {"vector", "scale"}


class PersonalityError(MalformedError):
    """`personality.toml` is malformed."""


@dataclass(frozen=True, slots=True)
class Term:
    """A vector with a scale.

    Attributes:
        vector: name of the vector, found in the same commit.
        scale: finite factor of its tau.
    """

    vector: str
    scale: float = 1.0

    def __str__(self) -> str:
        sign = "-" if self.scale < 0 else "+"
        size = abs(self.scale)
        return f"{sign} {self.vector}" if size == 1 else f"{sign} {size:g}*{self.vector}"


@dataclass(frozen=True, slots=True)
class Personality:
    """Base plus a sum of terms."""

    terms: tuple[Term, ...] = ()

    def __str__(self) -> str:
        return " ".join(["base", *map(str, self.terms)])

    def names(self) -> frozenset[str]:
        """The vectors it is made of."""
        return frozenset(term.vector for term in self.terms)

    @classmethod
    def parse(cls, text: str, where: str = PATH) -> Personality:
        """Read `personality.toml` strictly.

        Raises:
            PersonalityError: it is not TOML, holds anything but terms, or too many.
        """
        if len(text) > MAX_CHARACTERS:  # to parse it would take minutes
            raise PersonalityError(where, f"it has more than {MAX_CHARACTERS} characters")
        try:
            document = tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            raise PersonalityError(where, f"it is not TOML ({error})") from None
        unknown = sorted(set(document) - {"term"})
        if unknown:
            raise PersonalityError(where, f"it holds {unknown[0]!r}, which has no meaning here")
        tables = document.get("term", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise PersonalityError(where, "terms are written [[term]]")
        if len(tables) > MAX_TERMS:
            raise PersonalityError(where, f"it has {len(tables)} terms, more than {MAX_TERMS}")
        return cls(tuple(_term(table, where) for table in tables))


def _term(table: Mapping[str, Any], where: str) -> Term:
    unknown = sorted(set(table) - _KEYS)
    if unknown:
        raise PersonalityError(
            where, f"a term holds {unknown[0]!r}, which this version cannot read"
        )
    name, scale = table.get("vector"), table.get("scale", 1.0)
    if not isinstance(name, str):
        raise PersonalityError(where, f"a term has the vector {name!r}, not a name")
    try:
        check_name(name)
    except VectorNameError as error:
        raise PersonalityError(where, f"{name!r} is no name of a vector ({error.reason})") from None
    if isinstance(scale, bool) or not isinstance(scale, int | float):
        raise PersonalityError(where, f"term {name} has the scale {scale!r}, not a number")
    try:
        value = float(scale)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise PersonalityError(where, f"term {name} has the scale {value}, which is not finite")
    return Term(name, value)


def edit(text: str, new: Personality) -> str:
    """The text of `personality.toml` with the terms of `new`; comments of kept terms stay.

    Terms that were written as an array of inline tables are written as [[term]] from then on.
    """
    import tomlkit
    from tomlkit.items import Table

    if Personality.parse(text) == new:
        return text
    document = tomlkit.parse(text)
    tables = [each for each in document.pop("term", []) if isinstance(each, Table)]
    terms = tomlkit.aot()
    for term in new.terms:
        terms.append(_table(term, tables))
    if new.terms:
        _end_with_blank_line(document)
        document.append("term", terms)
    return re.sub(r"\n{3,}", "\n\n", tomlkit.dumps(document)).rstrip("\n") + "\n"


def _table(term: Term, old: list[Table]) -> Table:
    """The old table of the same vector, which carries its comments, or a new one."""
    import tomlkit

    for table in old:
        if table["vector"] == term.vector:
            old.remove(table)
            if float(table.get("scale", 1.0)) != term.scale:
                table["scale"] = term.scale
            return table
    table = tomlkit.table()
    table.add("vector", term.vector)
    table.add("scale", term.scale)
    table.add(tomlkit.nl())
    return table


def _end_with_blank_line(document: TOMLDocument) -> None:
    import tomlkit

    text = tomlkit.dumps(document)
    if text and not text.endswith("\n\n"):
        document.add(tomlkit.nl())
