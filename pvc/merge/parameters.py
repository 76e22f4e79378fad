"""The parameters of merge methods: which values they allow, and how a value is written.

    text     in recipes: a number in its shortest form, as Python writes it
    exact    in formulas and their digests: a float in hexadecimal, other values as text
    words    for people

Text and exact form are read back to the same value.  A choice that was not made is None: recipes
leave it out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

Value: TypeAlias = float | int | str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """What all parameters have.

    Attributes:
        name: in recipes, and of the option.
        help: one sentence.
        default: the value where none is given.
        metavar: what the help calls a value.
        offered: whether people can give it; if not, recipes have it for what they were before.
        is_quiet: whether the default is left out of words.
    """

    name: str
    help: str
    default: Value = None
    metavar: str = ""
    offered: bool = True
    is_quiet: bool = False

    @property
    def is_optional(self) -> bool:
        """Whether recipes may leave it out."""
        return self.default is None

    @property
    def allowed(self) -> str:
        """The allowed values, in words."""
        raise NotImplementedError

    def allows(self, value: Value) -> bool:
        """Whether a value is allowed."""
        raise NotImplementedError

    def of(self, value: Value) -> Value:
        """A value in the type of this parameter, if it is not in it yet."""
        return value

    def text(self, value: Value) -> str:
        """A value, not None, as recipes have it."""
        return str(value)

    def read(self, text: str) -> Value:
        """The value of such a text.

        Raises:
            ValueError: it is not in the form that `text` writes.
        """
        return text

    def exact(self, value: Value) -> str | None:
        """A value as formulas have it."""
        return None if value is None else self.text(value)

    def read_exact(self, text: str | None) -> Value:
        """The value of such a text.

        Raises:
            ValueError, TypeError: it is none.
        """
        return None if text is None else self.read(text)

    def words(self, value: Value) -> str:
        """A value for people."""
        return f"{value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Number(Parameter):
    """A finite float64.

    Attributes:
        above: every value is above it.
        at_most: no value is above it.
    """

    above: float = -math.inf
    at_most: float = math.inf

    @property
    def allowed(self) -> str:
        """The allowed values, in words."""
        bounds = [f"above {self.above:g}"] if self.above > -math.inf else []
        bounds += [f"at most {self.at_most:g}"] if self.at_most < math.inf else []
        return " and ".join(bounds) or "finite"

    def allows(self, value: Value) -> bool:
        """Whether a value is allowed."""
        if not isinstance(value, float) or not math.isfinite(value):
            return False
        return self.above < value <= self.at_most

    def of(self, value: Value) -> Value:
        """A value in the type of this parameter, if it is not in it yet."""
        return float(value) if isinstance(value, int) else value

    def text(self, value: Value) -> str:
        """A value as recipes have it."""
        return repr(value)

    def read(self, text: str) -> Value:
        """The value of such a text; raises as `shortest`."""
        return shortest(text)

    def exact(self, value: Value) -> str | None:
        """A value as formulas have it."""
        return value.hex() if isinstance(value, float) else None

    def read_exact(self, text: str | None) -> Value:
        """The value of such a text; raises as `Parameter.read_exact`."""
        return float.fromhex(text)  # type: ignore[arg-type]

    def words(self, value: Value) -> str:
        """A value for people."""
        return f"{value:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Integer(Parameter):
    """A whole number.

    Attributes:
        least: the smallest value.
        most: the largest.
    """

    least: int
    most: int

    @property
    def allowed(self) -> str:
        """The allowed values, in words."""
        return f"from {self.least} to {self.most}"

    def allows(self, value: Value) -> bool:
        """Whether a value is allowed."""
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        return self.least <= value <= self.most

    def read(self, text: str) -> Value:
        """The value of such a text.

        Raises:
            ValueError: it is no whole number, or not in its shortest form.
        """
        number = int(text) if text.isascii() and text.removeprefix("-").isdigit() else None
        if str(number) != text:
            raise ValueError(f"{text!r} is no whole number in its shortest form")
        return number


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice(Parameter):
    """One of some words, or None.

    Attributes:
        choices: the words.
    """

    choices: tuple[str, ...]

    @property
    def allowed(self) -> str:
        """The allowed values, in words."""
        return " or ".join(self.choices)

    def allows(self, value: Value) -> bool:
        """Whether a value is allowed."""
        return value is None or value in self.choices


def shortest(text: str) -> float:
    """A finite number, written as Python writes it.

    Raises:
        ValueError: it is none, or there is a shorter text for it.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or repr(number) != text:
        raise ValueError(f"{text!r} is no number in its shortest form")
    return number
