"""Numbers on the command line; Python's readers take 1_0 for ten, and digits of any script."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click import Context, Parameter

_WHOLE = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


class AnyNumber(click.types.FloatParamType):
    """A number such as 0.5, -2 or 1e-3, within what a float64 can hold.

    Args:
        least: the least one that is allowed; None allows all.
    """

    def __init__(self, least: float | None = None) -> None:
        self.least = least

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> float:
        """The number of a text."""
        if isinstance(value, str) and not _NUMBER.fullmatch(value):
            self.fail(f"{value!r} is not a number.", param, ctx)
        found = float(super().convert(value, param, ctx))
        if not math.isfinite(found):
            self.fail(f"{value} is too large.", param, ctx)
        if not found and isinstance(value, str) and re.search("[1-9]", re.split("[eE]", value)[0]):
            self.fail(f"{value} is too small.", param, ctx)
        if self.least is not None and found < self.least:
            self.fail(f"{value} is less than {self.least:g}.", param, ctx)
        return found


class WholeNumber(click.IntRange):
    """A whole number within bounds."""

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> int:
        """The number of a text."""
        if isinstance(value, str) and not _WHOLE.fullmatch(value):
            self.fail(f"{value!r} is not a whole number.", param, ctx)
        return int(super().convert(value, param, ctx))
