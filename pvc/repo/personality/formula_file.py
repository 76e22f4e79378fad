"""Formulas as they are kept: JSON values, scales to the last bit.

  formula  {"base": tree id, "start": [tree id, layout id], "parts": [part, ...]}, and
           "rounded": true where a start without parts is brought to the base's dtypes
  part     {"scale": float, "label": text, "vector": link or mix}
  link     {"base", "origin", "result": tree ids, "layout": layout id, "recipe": digest or null}
  mix      {"method": text, a field for each of its parameters: text or null, "parts"}

Floats are hexadecimal texts; the parameter lambda is the field "factor".
Reading raises what `pvc.strict_json.MALFORMATIONS` lists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pvc.repo.personality.formula import Built, Formula, FormulaPart, Link, Mix, Operand
from pvc_store.ids import parse_id

if TYPE_CHECKING:
    from pvc.merge.parameters import Parameter


def formula_json(formula: Formula) -> dict[str, object]:
    """A formula as a JSON value."""
    return {
        "base": formula.base.hex(),
        "start": [formula.start.tree.hex(), formula.start.layout.hex()],
        "parts": _parts_json(formula.parts),
        **({"rounded": True} if formula.rounded else {}),
    }


def read_formula(found: dict[str, Any]) -> Formula:
    """The same, read."""
    tree, layout = map(parse_id, found["start"])
    parts, rounded = _read_parts(found["parts"]), found.get("rounded", False) is True
    return Formula(parse_id(found["base"]), Built(tree, layout), parts, rounded)


def _parts_json(parts: tuple[FormulaPart, ...]) -> list[dict[str, object]]:
    return [
        {"scale": float(part.scale).hex(), "label": part.label, "vector": _vector(part.operand)}
        for part in parts
    ]


def _read_parts(found: list[dict[str, Any]]) -> tuple[FormulaPart, ...]:
    return tuple(
        FormulaPart(float.fromhex(part["scale"]), _read_vector(part["vector"]), str(part["label"]))
        for part in found
    )


def _vector(operand: Operand) -> dict[str, object]:
    if isinstance(operand, Link):
        return {
            "base": operand.base.hex(),
            "origin": operand.from_tree.hex(),
            "result": operand.to_tree.hex(),
            "layout": operand.layout.hex(),
            "recipe": None if operand.from_formula is None else operand.from_formula.hex(),
        }
    rule = operand.rule
    return {
        "method": rule.method.name,
        **{_field(one): one.exact(rule[one.name]) for one in rule.method.parameters},
        "parts": _parts_json(operand.parts),
    }


def _field(parameter: Parameter) -> str:
    return "factor" if parameter.name == "lambda" else parameter.name


def _read_vector(found: dict[str, Any]) -> Operand:
    if "method" in found:
        from pvc.merge.method import Rule
        from pvc.merge.methods import METHODS

        method = METHODS[found["method"]]
        values = ((one.name, one.read_exact(found[_field(one)])) for one in method.parameters)
        return Mix(Rule(method, tuple(values)), _read_parts(found["parts"]))
    return Link(
        base=parse_id(found["base"]),
        from_tree=parse_id(found["origin"]),
        to_tree=parse_id(found["result"]),
        layout=parse_id(found["layout"]),
        from_formula=None if found["recipe"] is None else parse_id(found["recipe"]),
    )
