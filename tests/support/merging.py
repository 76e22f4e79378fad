"""Parameters of merge methods, as tests give them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from pvc.merge.method import ParameterError, Rule
from pvc.merge.methods import METHODS
from pvc.merge.parameters import Choice, Integer, Number, Parameter

if TYPE_CHECKING:
    from pvc.merge.parameters import Value


def trimmed(density: float, factor: float = 1.0, compat: str | None = None) -> dict[str, Value]:
    """Those of "ties"."""
    return {"density": density, "lambda": factor, "compat": compat}


def values(parameter: Parameter) -> st.SearchStrategy[Value]:
    """All values that a parameter allows."""
    match parameter:
        case Number(above=above, at_most=at_most):
            low, high = (None if math.isinf(bound) else bound for bound in (above, at_most))
            return st.floats(
                low, high, exclude_min=low is not None, allow_nan=False, allow_infinity=False
            )
        case Integer(least=least, most=most):
            return st.integers(least, most)
        case Choice(choices=choices):
            return st.sampled_from([None, *choices])
    raise TypeError(f"nobody knows the values of a {type(parameter).__name__}")


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    """All methods, with all parameters that fit together, those that only recipes have included."""
    method = draw(st.sampled_from(list(METHODS.values())))
    found = [(one, draw(values(one))) for one in method.parameters]
    try:
        return Rule(method, tuple((one.name, value) for one, value in found)).checked()
    except ParameterError:  # where a choice does not go together with numbers
        chosen = ((one, value if isinstance(one, Choice) else one.default) for one, value in found)
        return Rule(method, tuple((one.name, value) for one, value in chosen)).checked()
