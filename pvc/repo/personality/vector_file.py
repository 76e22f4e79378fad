"""The files of vectors: `vectors/<name>.json`, kept by git and written by pvc only.

Format page: docs/format/vector.md.
"""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from pvc.errors import MalformedError
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
from pvc.strict_json import Fields

if TYPE_CHECKING:
    from pvc.merge.method import Rule
    from pvc.merge.parameters import Parameter, Value

FORMAT = "pvc vector 1"
DIRECTORY = "vectors"
MAX_VECTOR_BYTES = 1 << 20

_COUNTS = tuple(field.name for field in fields(Statistics) if field.type == "int")
_NORM = re.compile(r"[0-9]+(\.[0-9]+)?(e[+-][0-9]{1,3})?|inf")


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
    if len(text) > MAX_VECTOR_BYTES:
        raise VectorError(where, f"it has more than {MAX_VECTOR_BYTES} characters")
    found = Fields.read(text, where, VectorError)
    found.format(FORMAT)
    vector = _derived(found) if found.has("recipe") else _captured(found)
    found.finish()
    return vector


def _captured(found: Fields) -> CapturedVector:
    return CapturedVector(
        base=found.id("base"),
        from_tree=found.id("from"),
        to_tree=found.id("to"),
        layout=found.id("layout"),
        statistics=_statistics(found.part("statistics")),
        provenance=_provenance(found.part("provenance")),
        from_formula=found.id("from_recipe") if found.has("from_recipe") else None,
    )


def _derived(found: Fields) -> DerivedVector:
    recipe, counts = found.part("recipe"), found.part("counts")
    made = Recipe(
        rule=_rule(recipe),
        terms=tuple(_term(item, recipe) for item in recipe.items("terms")),
    )
    recipe.finish()
    if not 0 < len(made.terms) <= MAX_TERMS:
        raise recipe.wrong(f"it has {len(made.terms)} terms")
    return DerivedVector(
        recipe=made,
        counts=tuple((name, _count(counts, name)) for name in counts.names()),
        provenance=_provenance(found.part("provenance")),
    )


def _rule(recipe: Fields) -> Rule:
    from pvc.merge.method import ParameterError, Rule  # commands that read no recipe do without
    from pvc.merge.methods import METHODS

    name = recipe.text("method")
    if name not in METHODS:
        raise recipe.wrong(f"its method is {name!r}, which is not known")
    values = tuple((one.name, _value(one, recipe)) for one in METHODS[name].parameters)
    try:
        return Rule(METHODS[name], values).checked()
    except ParameterError as error:
        raise recipe.wrong(error.reason) from None


def _value(parameter: Parameter, recipe: Fields) -> Value:
    if parameter.is_optional and not (parameter.offered and recipe.has(parameter.name)):
        return None
    try:
        return parameter.read(recipe.text(parameter.name))
    except ValueError as error:
        raise recipe.wrong(str(error)) from None


def _term(item: object, recipe: Fields) -> Term:
    match item:
        case [str(name), str(scale)]:
            with contextlib.suppress(VectorNameError):
                return Term(check_name(name), _number(scale, recipe))
    raise recipe.wrong(f"{item!r} is no term")


def _number(text: str, found: Fields) -> float:
    from pvc.merge.parameters import shortest

    try:
        return shortest(text)
    except ValueError as error:
        raise found.wrong(str(error)) from None


def _amount_json(amount: Amount) -> dict[str, int | str]:
    return {field.name: getattr(amount, field.name) for field in fields(Amount)}


def _count(found: Fields, name: str) -> int:
    return found.number(name, (1 << 63) - 1)


def _norm(found: Fields, name: str) -> str:
    text = found.text(name)
    if not _NORM.fullmatch(text):
        raise found.wrong(f"{name!r} is {text!r}, not a norm")
    return text


def _amount(found: Fields) -> Amount:
    return Amount(
        elements=_count(found, "elements"),
        changed_elements=_count(found, "changed_elements"),
        tau_norm=_norm(found, "tau_norm"),
        from_norm=_norm(found, "from_norm"),
    )


def _statistics(found: Fields) -> Statistics:
    roles = found.part("roles")
    by_role = []
    for role in roles.names():
        inner = roles.part(role)
        by_role.append((role, _amount(inner)))
        inner.finish()
    counted = Statistics(
        amount=_amount(found),
        roles=tuple(by_role),
        **{name: _count(found, name) for name in _COUNTS},
    )
    found.finish()
    return counted


def _provenance(found: Fields) -> tuple[tuple[str, str], ...]:
    return tuple((name, found.text(name, MAX_VECTOR_BYTES)) for name in found.names())
