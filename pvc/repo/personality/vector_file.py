"""The files of vectors: `vectors/<name>.json`, kept by git and written by pvc only.

Format page: docs/format/vector.md.
"""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from pvc import strict_json
from pvc.errors import MalformedError
from pvc.merge.method import ParameterError, Rule
from pvc.merge.methods import METHODS
from pvc.merge.parameters import shortest
from pvc.repo.personality.personality_file import MAX_TERMS, Term
from pvc.repo.personality.vector import (
    Amount,
    CapturedVector,
    DerivedVector,
    Recipe,
    Statistics,
    Vector,
)
from pvc.repo.personality.vector_names import VectorNameError, check_name
from pvc_store.ids import IdError, parse_id

if TYPE_CHECKING:
    from pvc.merge.parameters import Parameter, Value

FORMAT = "pvc vector 1"
DIRECTORY = "vectors"
MAX_VECTOR_BYTES = 1 << 20

_COUNTS = tuple(field.name for field in fields(Statistics) if field.type == "int")
_NORM = re.compile(r"[0-9]+(\.[0-9]+)?(e[+-][0-9]{1,3})?|inf")
_T = TypeVar("_T")


class VectorError(MalformedError):
    """A vector's file is malformed."""


def to_text(vector: Vector) -> str:
    """The canonical text: sorted keys, no floats, one newline at the end."""
    if isinstance(vector, CapturedVector):
        document = _captured_json(vector)
    else:
        document = _derived_json(vector)
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _captured_json(vector: CapturedVector) -> dict[str, Any]:
    counted = vector.statistics
    document = {
        "format": FORMAT,
        "base": vector.base.hex(),
        "from": vector.from_tree.hex(),
        "to": vector.to_tree.hex(),
        "layout": vector.layout.hex(),
        "statistics": {
            **{name: getattr(counted, name) for name in _COUNTS},
            **_amount_json(counted.amount),
            "roles": {role: _amount_json(amount) for role, amount in counted.roles},
        },
        "provenance": dict(vector.provenance),
    }
    if vector.from_formula is not None:
        document["from_recipe"] = vector.from_formula.hex()
    return document


def _derived_json(vector: DerivedVector) -> dict[str, Any]:
    rule, terms = vector.recipe.rule, vector.recipe.terms
    values = ((parameter, rule[parameter.name]) for parameter in rule.method.parameters)
    return {
        "format": FORMAT,
        "recipe": {
            "method": rule.method.name,
            "terms": [[term.vector, repr(float(term.scale))] for term in terms],
            **{one.name: one.text(value) for one, value in values if value is not None},
        },
        "counts": dict(vector.counts),
        "provenance": dict(vector.provenance),
    }


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
        from_tree=found.id("from"),
        to_tree=found.id("to"),
        layout=found.id("layout"),
        statistics=_statistics(found.inner("statistics")),
        provenance=_provenance(found.inner("provenance")),
        from_formula=found.id("from_recipe") if "from_recipe" in found.rest else None,
    )


def _derived(found: _Fields) -> DerivedVector:
    recipe, counts = found.inner("recipe"), found.inner("counts")
    made = Recipe(
        rule=_rule(recipe),
        terms=tuple(_term(item, recipe.where) for item in recipe.take("terms", list)),
    )
    recipe.finish()
    if not 0 < len(made.terms) <= MAX_TERMS:
        raise VectorError(recipe.where, f"it has {len(made.terms)} terms")
    return DerivedVector(
        recipe=made,
        counts=tuple((name, counts.count(name)) for name in sorted(counts.rest)),
        provenance=_provenance(found.inner("provenance")),
    )


def _rule(recipe: _Fields) -> Rule:
    name = recipe.take("method", str)
    if name not in METHODS:
        raise VectorError(recipe.where, f"its method is {name!r}, which is not known")
    values = tuple((one.name, _value(one, recipe)) for one in METHODS[name].parameters)
    try:
        return Rule(METHODS[name], values).checked()
    except ParameterError as error:
        raise VectorError(recipe.where, error.reason) from None


def _value(parameter: Parameter, recipe: _Fields) -> Value:
    if parameter.is_optional and not (parameter.offered and parameter.name in recipe.rest):
        return None
    try:
        return parameter.read(recipe.take(parameter.name, str))
    except ValueError as error:
        raise VectorError(recipe.where, str(error)) from None


def _term(item: object, where: str) -> Term:
    match item:
        case [str(name), str(scale)]:
            with contextlib.suppress(VectorNameError):
                return Term(check_name(name), _number(scale, where))
    raise VectorError(where, f"{item!r} is no term")


def _number(text: str, where: str) -> float:
    try:
        return shortest(text)
    except ValueError as error:
        raise VectorError(where, str(error)) from None


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
