"""Weight expressions: sums of revisions and vectors with scales, read into a flat sum.

expression := [sign] product ((+|-) product)*
product    := factor (* factor)*                     exactly one factor is no number
factor     := number | name | ( expression )
number     := 2  0.5  .5  1e-3                       finite
name       := base  listening  main  HEAD~2  main^  origin/main  listening@REVISION

A dash in REVISION, with no space, operator or end next to it, belongs to REVISION:
`x@feature-y` is one name, `x@feature - y` a difference.  Any other dash is a minus: `a-b` is
`a - b`, although alone it is taken for a revision (`is_expression`).
"""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from pvc.errors import PvcError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_TEXT = 10_000
MAX_DEPTH = 100

_MAX_SHOWN = 100
_SIGNS = {"+": 1.0, "-": -1.0}

# Runs of characters are never given back (`++`): long ones stay linear.  Groups may be, because
# Python 3.11.2 matches wrongly where they may not (python/cpython#100061).
_NUMBER = r"(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][-+]?[0-9]++)?"
# A name that `vector_names` allows.
_WORD = r"[A-Za-z_][A-Za-z0-9_]*+(?:\.[A-Za-z0-9_]++)*"
_INNER = r"[^\s+*()\x00-\x1f\x7f\ud800-\udfff-]"  # of a git revision; the dash has its own rule
_REVISION = rf"{_INNER}(?:{_INNER}|-+(?={_INNER}))*"
_NAME = rf"{_WORD}(?:@{_REVISION}|(?:/{_WORD})*(?:[~^][0-9]*+)*)"
_TOKEN = rf"(?P<number>{_NUMBER})|(?P<name>{_NAME})|(?P<mark>[-+*()])|(?P<unknown>\S)"

_BRACES = re.compile(r"\{[^{}]*\}")
_MORE_THAN_A_REVISION = re.compile(rf"[+*(]|\s-|-\s|\A-|\A{_NUMBER}\s")


class ExpressionError(PvcError):
    """A text is no weight expression.

    Attributes:
        text: the text.
        at: column of the place, in characters from 0; the length of the text for its end.
        reason: what is wrong there.
    """

    def __init__(self, text: str, at: int, reason: str) -> None:
        self.text = text
        self.at = at
        self.reason = reason
        super().__init__(f"{_shown(text)} is no weight expression: {reason} (column {at + 1}).")

    @property
    def pointer(self) -> str:
        """Two lines: the text around the place, unprintable characters blank, and a caret."""
        begin = max(0, self.at - _MAX_SHOWN) if len(self.text) > _MAX_SHOWN else 0
        line = "".join(char if char.isprintable() else " " for char in self.text[begin:])
        before = sum(map(_width, line[: self.at - begin]))
        return f"{line[: _MAX_SHOWN + _MAX_SHOWN // 4]}\n{' ' * before}^"


@dataclass(frozen=True, slots=True)
class Addend:
    """A name with the scale that stands before it once parentheses are gone.

    Attributes:
        scale: finite factor, float64; zero if a factor is zero or all are tiny.
        name: `base`, a revision, a vector, or NAME@REVISION, as written.
        at: column of the name, in characters from 0.
    """

    scale: float
    name: str
    at: int


def is_expression(text: str) -> bool:
    """Whether `text` is more than a lone revision; it need not be a right expression.

    What stands in braces (`HEAD@{...}`, `main^{/...}`) or after `:/` belongs to a revision.  A lone
    number may be a tag or a commit, as `1.0` and `1234567` are.
    """
    stripped = text.strip()
    if stripped.startswith(":"):
        return False
    return _MORE_THAN_A_REVISION.search(_BRACES.sub("", stripped)) is not None


def parse(text: str) -> tuple[Addend, ...]:
    """The addends of `text`, as written from left to right; equal names are not collected.

    A scale is a product of float64: the numbers of one product from left to right, then the
    outermost product times the next one inside, and so on.

    Raises:
        ExpressionError: it does not follow the grammar, has a number that is not finite, has more
            than MAX_TEXT characters, or nests deeper than MAX_DEPTH.
    """
    if len(text) > MAX_TEXT:
        reason = f"it has {len(text)} characters, more than {MAX_TEXT}"
        raise ExpressionError(text, MAX_TEXT, reason)
    if not text.strip():
        raise ExpressionError(text, 0, "it is empty")
    return _Reader(text).read()


class _Token(NamedTuple):
    """A piece of the text; `kind` is number, name, unknown, end, or the mark itself."""

    kind: str
    word: str
    at: int


@dataclass(slots=True)
class _Product:
    """A product while it is read: the factors outside it, and its own numbers multiplied."""

    around: _Product | None
    scale: float
    number: _Token | None = None
    has_weights: bool = False


_Step: TypeAlias = "Callable[[_Token], _Step]"


@dataclass(slots=True)
class _Reader:
    """Reads token by token; every step returns the step that takes the next token."""

    text: str
    product: _Product = field(init=False)
    products: list[_Product] = field(default_factory=list)
    opened: list[_Token] = field(default_factory=list)
    named: list[tuple[_Product, _Token]] = field(default_factory=list)

    def read(self) -> tuple[Addend, ...]:
        self._begin(None, 1.0)
        step: _Step = self._first
        for token in _tokens(self.text):
            if token.kind == "unknown":
                raise self._error(token, f"{token.word!r} has no meaning here")
            step = step(token)
        for product in self.products:  # outer ones come first
            if product.around is not None:
                product.scale *= product.around.scale
        return tuple(self._addend(product, token) for product, token in self.named)

    def _first(self, token: _Token) -> _Step:
        if token.kind in _SIGNS:
            self.product.scale = _SIGNS[token.kind]
            return self._factor
        return self._factor(token)

    def _factor(self, token: _Token) -> _Step:
        if token.kind == "number":
            self.product.scale *= self._finite(token)
            self.product.number = self.product.number or token
            return self._operator
        if token.kind not in {"name", "("}:
            before = f" before {token.word!r}" if token.word else " at the end"
            raise self._error(token, f"a number, a name or '(' is missing{before}")
        if self.product.has_weights:
            raise self._error(token, "only numbers can multiply weights or a vector")
        self.product.has_weights = True
        if token.kind == "(":
            return self._open(token)
        self.named.append((self.product, token))
        return self._operator

    def _operator(self, token: _Token) -> _Step:
        if token.kind == "*":
            return self._factor
        if token.kind in {"number", "name", "("}:
            reason = f"an operator is missing before {_shown(token.word)}"
            raise self._error(token, reason)
        number = self.product.number
        if number is not None and not self.product.has_weights:
            word = number.word[:_MAX_SHOWN]
            raise self._error(number, f"{word} is a number, not weights or a vector")
        if token.kind in _SIGNS:
            self._begin(self.product.around, _SIGNS[token.kind])
            return self._factor
        return self._close(token)

    def _open(self, token: _Token) -> _Step:
        if len(self.opened) == MAX_DEPTH:
            raise self._error(token, f"parentheses nest deeper than {MAX_DEPTH}")
        self.opened.append(token)
        self._begin(self.product, 1.0)
        return self._first

    def _close(self, token: _Token) -> _Step:
        if token.kind == "end":
            if self.opened:
                raise self._error(self.opened[-1], "this '(' is never closed")
        elif self.product.around is None:
            raise self._error(token, "this ')' closes nothing")
        else:
            self.opened.pop()
            self.product = self.product.around
        return self._operator

    def _begin(self, around: _Product | None, scale: float) -> None:
        self.product = _Product(around, scale)
        self.products.append(self.product)

    def _finite(self, token: _Token) -> float:
        value = float(token.word)
        if not math.isfinite(value):
            raise self._error(token, f"{token.word[:_MAX_SHOWN]} is not finite as float64")
        return value

    def _addend(self, product: _Product, token: _Token) -> Addend:
        if not math.isfinite(product.scale):
            raise self._error(token, f"the scale of {_shown(token.word)} is not finite as float64")
        return Addend(product.scale, token.word, token.at)

    def _error(self, token: _Token, reason: str) -> ExpressionError:
        return ExpressionError(self.text, token.at, reason)


def _tokens(text: str) -> Iterator[_Token]:
    """The tokens of `text`, and the end as the last one."""
    for match in re.finditer(_TOKEN, text):
        kind, word = match.lastgroup or "unknown", match.group()
        yield _Token(word if kind == "mark" else kind, word, match.start())
    yield _Token("end", "", len(text))


def _width(char: str) -> int:
    """Columns that a terminal gives to a character."""
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1


def _shown(text: str) -> str:
    return repr(text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "...")
