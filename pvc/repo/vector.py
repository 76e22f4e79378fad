"""Vectors as git keeps them: `vectors/<name>.json`, written by pvc only.

A captured vector names two stored trees, `from` and `to`; tau = fp32(to) - fp32(from) is computed
from them and never stored.  A derived vector names others, and how they are combined.  The file
holds all that `log` and `show` print.  Format page: docs/format/vector.md.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from dataclasses import dataclass, fields
from typing import Any, TypeAlias, TypeVar

from pvc.errors import MalformedError
from pvc.merge.dialect import COMPAT, DIALECTS
from pvc.repo.formula import Link
from pvc.repo.names import VectorNameError, check_name
from pvc.repo.personality import MAX_TERMS, Term
from pvc.weights import strict_json
from pvc_store.ids import IdError, parse_id

FORMAT = "pvc vector 1"
DIRECTORY = "vectors"
MAX_VECTOR_BYTES = 1 << 20

_NORM = re.compile(r"[0-9]+(\.[0-9]+)?(e[+-][0-9]{1,3})?|inf")
_T = TypeVar("_T")


class VectorError(MalformedError):
    """A vector's file is malformed."""


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
        origin: tree id of `from`.
        result: tree id of `to`.
        layout: layout id: how `to` came as files.
        statistics: what was counted.
        provenance: where it came from, for people: origin, message, trainer, ...
        origin_recipe: digest of the formula that `from` was computed by; None if it was captured.
    """

    base: bytes
    origin: bytes
    result: bytes
    layout: bytes
    statistics: Statistics
    provenance: tuple[tuple[str, str], ...] = ()
    origin_recipe: bytes | None = None

    @property
    def link(self) -> Link:
        """The vector as it is computed with."""
        return Link(self.base, self.origin, self.result, self.layout, self.origin_recipe)

    def to_text(self) -> str:
        """The canonical text: sorted keys, no floats, one newline at the end."""
        counted = self.statistics
        document = {
            "format": FORMAT,
            "base": self.base.hex(),
            "from": self.origin.hex(),
            "to": self.result.hex(),
            "layout": self.layout.hex(),
            "statistics": {
                **{name: getattr(counted, name) for name in _COUNTS},
                **_amount_json(counted.amount),
                "roles": {role: _amount_json(amount) for role, amount in counted.roles},
            },
            "provenance": dict(self.provenance),
        }
        if self.origin_recipe is not None:
            document["from_recipe"] = self.origin_recipe.hex()
        return _text(document)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a derived vector is made of others.

    Attributes:
        method: one of METHODS.
        terms: what is combined, in order; found in the same commit.
        density: the share of each vector that "ties" keeps, above 0 to 1.
        factor: what the result is multiplied by (lambda).
        compat: whose rule "ties" follows, one of `dialect.COMPAT`; None for its authors'.
    """

    method: str
    terms: tuple[Term, ...]
    density: float = 1.0
    factor: float = 1.0
    compat: str | None = None

    def __str__(self) -> str:
        listed = " ".join(map(str, self.terms)).removeprefix("+ ")
        density = f", density {self.density:g}" if self.method == "ties" else ""
        factor = "" if self.factor == 1 else f", lambda {self.factor:g}"
        compat = "" if self.compat is None else f", compat {self.compat}"
        return f"{self.method}({listed}{density}{factor}{compat})"


METHODS = ("sum", "ties")


@dataclass(frozen=True, slots=True)
class DerivedVector:
    """A named recipe; it has no trees of its own.

    Attributes:
        recipe: how it is made.
        counts: what was counted when it was made: "elements" of the model, and of each term
            "kept NAME" and "outvoted NAME".
        provenance: where it came from, for people.
    """

    recipe: Recipe
    counts: tuple[tuple[str, int], ...] = ()
    provenance: tuple[tuple[str, str], ...] = ()

    def to_text(self) -> str:
        """The canonical text: sorted keys, no floats, one newline at the end."""
        recipe = self.recipe
        compat = {} if recipe.compat is None else {"compat": recipe.compat}
        document = {
            "format": FORMAT,
            "recipe": {
                "method": recipe.method,
                "terms": [[term.vector, repr(float(term.scale))] for term in recipe.terms],
                "density": repr(float(recipe.density)),
                "lambda": repr(float(recipe.factor)),
                **compat,
            },
            "counts": dict(self.counts),
            "provenance": dict(self.provenance),
        }
        return _text(document)


Vector: TypeAlias = CapturedVector | DerivedVector


def parse(text: str, where: str) -> Vector:
    """Read a vector's file strictly.

    Raises:
        VectorError: for every way to be malformed, a newer format included.
    """
    found = _Fields(_document(text, where), where)
    version = found.take("format", str)
    if version != FORMAT:
        raise VectorError(where, f"its format is {version!r}, {FORMAT!r} is known")
    vector = _derived(found) if "recipe" in found.rest else _captured(found)
    found.finish()
    return vector


def _captured(found: _Fields) -> CapturedVector:
    return CapturedVector(
        base=found.id("base"),
        origin=found.id("from"),
        result=found.id("to"),
        layout=found.id("layout"),
        statistics=_statistics(found.inner("statistics")),
        provenance=_provenance(found.inner("provenance")),
        origin_recipe=found.id("from_recipe") if "from_recipe" in found.rest else None,
    )


def _derived(found: _Fields) -> DerivedVector:
    recipe, counts = found.inner("recipe"), found.inner("counts")
    made = Recipe(
        method=recipe.take("method", str),
        terms=tuple(_term(item, recipe.where) for item in recipe.take("terms", list)),
        density=recipe.number("density"),
        factor=recipe.number("lambda"),
        compat=recipe.take("compat", str) if "compat" in recipe.rest else None,
    )
    recipe.finish()
    if made.method not in METHODS:
        raise VectorError(recipe.where, f"its method is {made.method!r}, which is not known")
    if not 0 < made.density <= 1:
        raise VectorError(recipe.where, f"its density is {made.density}, not above 0 to 1")
    if not 0 < len(made.terms) <= MAX_TERMS:
        raise VectorError(recipe.where, f"it has {len(made.terms)} terms")
    _check_compat(made, recipe.where)
    return DerivedVector(
        recipe=made,
        counts=tuple((name, counts.count(name)) for name in sorted(counts.rest)),
        provenance=_provenance(found.inner("provenance")),
    )


def _check_compat(made: Recipe, where: str) -> None:
    if made.compat is None:
        return
    if made.compat not in COMPAT:
        raise VectorError(where, f"its compat is {made.compat!r}, which is not known")
    if made.method != "ties":
        raise VectorError(where, f"its method is {made.method!r}, which has no compat")
    if made.factor != 1 and not DIALECTS[made.compat].has_factor:
        raise VectorError(where, f"its lambda is {made.factor}, and {made.compat} has none but 1")


def _term(item: object, where: str) -> Term:
    match item:
        case [str(name), str(scale)]:
            with contextlib.suppress(VectorNameError):
                return Term(check_name(name), _number(scale, where))
    raise VectorError(where, f"{item!r} is no term")


def _number(text: str, where: str) -> float:
    """A finite number, written as Python writes it."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or repr(number) != text:
        raise VectorError(where, f"{text!r} is no number in its shortest form")
    return number


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


_COUNTS = tuple(field.name for field in fields(Statistics) if field.type == "int")


def _amount_json(amount: Amount) -> dict[str, int | str]:
    return {field.name: getattr(amount, field.name) for field in fields(Amount)}


def _document(text: str, where: str) -> dict[str, Any]:
    if len(text) > MAX_VECTOR_BYTES:
        raise VectorError(where, f"it has more than {MAX_VECTOR_BYTES} characters")
    try:
        document = strict_json.parse(text.encode())
    except ValueError as error:
        raise VectorError(where, f"it is not JSON ({error})") from None
    if not isinstance(document, dict):
        raise VectorError(where, "it is no JSON object")
    return document


class _Fields:
    """Takes the fields of a JSON object one by one, and notices those that nobody took."""

    def __init__(self, document: dict[str, Any], where: str) -> None:
        self.rest = dict(document)
        self.where = where

    def take(self, name: str, kind: type[_T]) -> _T:
        value = self.rest.pop(name, None)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise VectorError(self.where, f"{name!r} is {value!r}, not {kind.__name__}")
        return value

    def count(self, name: str) -> int:
        value = self.take(name, int)
        if not 0 <= value < 1 << 63:
            raise VectorError(self.where, f"{name!r} is {value}, which no count can be")
        return value

    def id(self, name: str) -> bytes:
        try:
            return parse_id(self.take(name, str))
        except IdError as error:
            raise VectorError(self.where, f"{name!r} holds no object id ({error})") from None

    def number(self, name: str) -> float:
        return _number(self.take(name, str), self.where)

    def norm(self, name: str) -> str:
        text = self.take(name, str)
        if not _NORM.fullmatch(text):
            raise VectorError(self.where, f"{name!r} is {text!r}, not a norm")
        return text

    def inner(self, name: str) -> _Fields:
        return _Fields(self.take(name, dict), f"{self.where} ({name})")

    def finish(self) -> None:
        if self.rest:
            raise VectorError(self.where, f"it holds the unknown field {min(self.rest)!r}")


def _amount(found: _Fields) -> Amount:
    return Amount(
        elements=found.count("elements"),
        changed_elements=found.count("changed_elements"),
        tau_norm=found.norm("tau_norm"),
        from_norm=found.norm("from_norm"),
    )


def _statistics(found: _Fields) -> Statistics:
    roles = found.inner("roles")
    by_role = []
    for role in sorted(roles.rest):
        inner = roles.inner(role)
        by_role.append((role, _amount(inner)))
        inner.finish()
    counted = Statistics(
        amount=_amount(found),
        roles=tuple(by_role),
        **{name: found.count(name) for name in _COUNTS},
    )
    found.finish()
    return counted


def _provenance(found: _Fields) -> tuple[tuple[str, str], ...]:
    return tuple((name, found.take(name, str)) for name in sorted(found.rest))
