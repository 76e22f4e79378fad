"""Weight expressions: the grammar, its errors with their columns, and what is no expression."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pvc.repo.personality.expression import (
    MAX_DEPTH,
    MAX_TEXT,
    Addend,
    ExpressionError,
    is_expression,
    parse,
)
from pvc.repo.personality.vector_names import is_name


def outcome(text: str) -> tuple[Addend, ...] | ExpressionError:
    try:
        return parse(text)
    except ExpressionError as error:
        return error


def sum_of(text: str) -> list[tuple[float, str]]:
    return [(addend.scale, addend.name) for addend in parse(text)]


GOOD = {
    "base": [(1.0, "base")],
    "main": [(1.0, "main")],
    "  main  ": [(1.0, "main")],
    "-listening": [(-1.0, "listening")],
    "+listening": [(1.0, "listening")],
    "base + listening": [(1.0, "base"), (1.0, "listening")],
    "base+listening-writing": [(1.0, "base"), (1.0, "listening"), (-1.0, "writing")],
    "a\t+\nb": [(1.0, "a"), (1.0, "b")],
    "a-b": [(1.0, "a"), (-1.0, "b")],
    "2*a": [(2.0, "a")],
    "a*2": [(2.0, "a")],
    "-2 * 3 * a * .5": [(-3.0, "a")],
    "2.*a": [(2.0, "a")],
    "1e-3*a": [(1e-3, "a")],
    "1E+3*a": [(1e3, "a")],
    "0*a": [(0.0, "a")],
    "a + a": [(1.0, "a"), (1.0, "a")],
    "((a))": [(1.0, "a")],
    "a - (b - c)": [(1.0, "a"), (-1.0, "b"), (1.0, "c")],
    "2*(a + 3*(b - c)*2)*.5": [(1.0, "a"), (6.0, "b"), (-6.0, "c")],
    "(+a - b)*2": [(2.0, "a"), (-2.0, "b")],
    "0.1*(3*a)": [(0.1 * 3, "a")],
    "0.1*(0.2*(0.3*a))": [((0.1 * 0.2) * 0.3, "a")],
    "e5": [(1.0, "e5")],
    "v1.0": [(1.0, "v1.0")],
    "x.5": [(1.0, "x.5")],
    "HEAD~2*3": [(3.0, "HEAD~2")],
    "HEAD~2-main^": [(1.0, "HEAD~2"), (-1.0, "main^")],
    "main^^2~1 + a": [(1.0, "main^^2~1"), (1.0, "a")],
    "main - origin/main": [(1.0, "main"), (-1.0, "origin/main")],
    "HEAD@{1} + a": [(1.0, "HEAD@{1}"), (1.0, "a")],
    "2*listening@HEAD~3": [(2.0, "listening@HEAD~3")],
    "listening@v1.0+a": [(1.0, "listening@v1.0"), (1.0, "a")],
    "(x@main^)": [(1.0, "x@main^")],
    "x@origin/main": [(1.0, "x@origin/main")],
    "x@{1}": [(1.0, "x@{1}")],
    "x@1234567": [(1.0, "x@1234567")],
    "x@feature-y": [(1.0, "x@feature-y")],
    "x@a--b-c + y": [(1.0, "x@a--b-c"), (1.0, "y")],
    "x@feature - y": [(1.0, "x@feature"), (-1.0, "y")],
    "x@feature -y": [(1.0, "x@feature"), (-1.0, "y")],
    "x@feature- y": [(1.0, "x@feature"), (-1.0, "y")],
    "x@feature-(y)": [(1.0, "x@feature"), (-1.0, "y")],
}

NUMBER_ALONE = "2 is a number, not weights or a vector"
TWO_NAMES = "only numbers can multiply weights or a vector"

BAD = [
    ("", 0, "it is empty"),
    (" \t\n", 0, "it is empty"),
    ("a & b", 2, "'&' has no meaning here"),
    ("x/2", 1, "'/' has no meaning here"),
    ("a + \0", 4, "'\\x00' has no meaning here"),
    ("x@\0", 1, "'@' has no meaning here"),
    ("x@a\udc80", 3, "'\\udc80' has no meaning here"),
    ("é", 0, "'é' has no meaning here"),
    ("@", 0, "'@' has no meaning here"),
    ("x@", 1, "'@' has no meaning here"),
    ("x@-y", 1, "'@' has no meaning here"),
    ("a..b", 1, "'.' has no meaning here"),
    ("a +", 3, "a number, a name or '(' is missing at the end"),
    ("a + ", 4, "a number, a name or '(' is missing at the end"),
    ("-", 1, "a number, a name or '(' is missing at the end"),
    ("2*", 2, "a number, a name or '(' is missing at the end"),
    ("(", 1, "a number, a name or '(' is missing at the end"),
    ("* a", 0, "a number, a name or '(' is missing before '*'"),
    ("a + * b", 4, "a number, a name or '(' is missing before '*'"),
    ("a + - b", 4, "a number, a name or '(' is missing before '-'"),
    ("--a", 1, "a number, a name or '(' is missing before '-'"),
    ("2*-a", 2, "a number, a name or '(' is missing before '-'"),
    ("()", 1, "a number, a name or '(' is missing before ')'"),
    ("a b", 2, "an operator is missing before 'b'"),
    ("2a", 1, "an operator is missing before 'a'"),
    ("2(a)", 1, "an operator is missing before '('"),
    ("(a) (b)", 4, "an operator is missing before '('"),
    ("(a)2", 3, "an operator is missing before '2'"),
    ("1.2.3*a", 3, "an operator is missing before '.3'"),
    ("a b &", 2, "an operator is missing before 'b'"),
    ("(a", 0, "this '(' is never closed"),
    ("((a", 1, "this '(' is never closed"),
    ("a + ((b)", 4, "this '(' is never closed"),
    ("a)", 1, "this ')' closes nothing"),
    ("(a)) + b", 3, "this ')' closes nothing"),
    ("2", 0, NUMBER_ALONE),
    ("-2", 1, NUMBER_ALONE),
    ("2*3", 0, NUMBER_ALONE),
    ("a + 2", 4, NUMBER_ALONE),
    ("a + 2 - b", 4, NUMBER_ALONE),
    ("(2)*a", 1, NUMBER_ALONE),
    ("2)", 0, NUMBER_ALONE),
    ("a*b", 2, TWO_NAMES),
    ("a*2*b", 4, TWO_NAMES),
    ("a*(b)", 2, TWO_NAMES),
    ("(a)*(b)", 4, TWO_NAMES),
    ("1e999*a", 0, "1e999 is not finite as float64"),
    ("2*1e999*a", 2, "1e999 is not finite as float64"),
    ("b + 1e200*1e200*a", 16, "the scale of 'a' is not finite as float64"),
    ("1e200*(b*0 + 1e200*a)", 19, "the scale of 'a' is not finite as float64"),
    ("1e200*1e200*0*a", 14, "the scale of 'a' is not finite as float64"),
]

REVISIONS = """
main HEAD HEAD~2 HEAD^ HEAD^2~3 @ @~1 @{1} @{-1} @{u} v1.0 v1.0-rc1 1.0 1.0-rc1 2024 2024-05-01
feature-x origin/main user/feature-x refs/heads/main HEAD@{1} stash@{0} main@{upstream} main^{tree}
main^{} v1.0^{commit} abc1234 1234567 12e4567 5e1f0a2 :/text HEAD:personality.toml main..topic
listening listening@HEAD~3 listening@v1.0 x@main^ x@origin/main x@{1} x@feature-y base a-b main-
"""
SPACED_REVISIONS = [
    "",
    " main ",
    ":/fix the text",
    ":/fix (a) - and + b",
    "HEAD@{2 days ago}",
    "main@{2024-05-01 10:00:00 -0500}",
    "main^{/fix - (this) * and + that}",
]
EXPRESSIONS = [
    "a + b",
    "a+b",
    "2*a",
    "2 * a",
    "a*2",
    "(a)",
    "a - b",
    "a -b",
    "a- b",
    "-a",
    " -a",
    "-",
    "-2",
    "+a",
    "2 a",
    "0.5 listening",
    "x@{1} - y",
    "a +",
    "main^{tree} + b",
]


@pytest.mark.parametrize("text", GOOD)
def test_good(text: str) -> None:
    assert sum_of(text) == GOOD[text]


@pytest.mark.parametrize(("text", "at", "reason"), BAD)
def test_bad(text: str, at: int, reason: str) -> None:
    with pytest.raises(ExpressionError) as raised:
        parse(text)
    error = raised.value
    assert (error.text, error.at, error.reason) == (text, at, reason)
    assert str(error) == f"{text!r} is no weight expression: {reason} (column {at + 1})."


def test_columns_of_names() -> None:
    assert parse(" 2*(a + .5*bb)-c@v1-2") == (
        Addend(2.0, "a", 4),
        Addend(1.0, "bb", 11),
        Addend(-1.0, "c@v1-2", 15),
    )


def test_the_caret_stands_below_wide_and_far_places() -> None:
    for text, columns in (
        ("\u5b57\u5b57 ?", 5),
        ("e\u0301 ?", 2),
        ("x" * 5000 + "?" + "y" * 5000, 100),
    ):
        found = ExpressionError(text, text.index("?"), "it is wrong")
        line, caret = found.pointer.split("\n")
        assert caret == " " * columns + "^"
        assert "?" in line
        assert len(line) <= 125


def test_pointer_is_two_lines() -> None:
    with pytest.raises(ExpressionError) as raised:
        parse("a\n\t+ b c")
    assert raised.value.pointer == "a  + b c\n       ^"
    with pytest.raises(ExpressionError) as raised:
        parse("a +")
    assert raised.value.pointer == "a +\n   ^"


def test_depth() -> None:
    assert sum_of("(" * MAX_DEPTH + "a" + ")" * MAX_DEPTH) == [(1.0, "a")]
    assert len(parse("+".join(["(a)"] * (2 * MAX_DEPTH)))) == 2 * MAX_DEPTH
    for text in ("(" * (MAX_DEPTH + 1) + "a", "(" * MAX_TEXT):
        with pytest.raises(ExpressionError, match=f"deeper than {MAX_DEPTH}") as raised:
            parse(text)
        assert raised.value.at == MAX_DEPTH


def test_length() -> None:
    assert len(parse("a" + "+a" * (MAX_TEXT // 2 - 1) + " ")) == MAX_TEXT // 2
    with pytest.raises(ExpressionError, match=f"more than {MAX_TEXT}") as raised:
        parse("a" * (MAX_TEXT + 1))
    assert raised.value.at == MAX_TEXT
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("char", "1.e-+ x@{/~^(a\u3000")
def test_long_runs_end_soon(char: str) -> None:
    """Quadratic time would take minutes."""
    is_expression(char * 1_000_000)
    outcome("x@a" + char * (MAX_TEXT - 3))
    outcome("2*a" + char * (MAX_TEXT - 3))


@pytest.mark.parametrize("text", [*REVISIONS.split(), *SPACED_REVISIONS])
def test_revisions_are_no_expressions(text: str) -> None:
    assert not is_expression(text)


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_expressions_are_more_than_revisions(text: str) -> None:
    assert is_expression(text)


@given(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*", fullmatch=True))
def test_every_name_of_a_vector_is_one_name(name: str) -> None:
    assume(is_name(name))
    assert parse(name) == (Addend(1.0, name, 0),)
    assert not is_expression(name)


@dataclass(frozen=True)
class Product:
    """Numbers before and after what they multiply: a name or a sum."""

    before: tuple[float, ...]
    weights: str | Sum
    after: tuple[float, ...]


@dataclass(frozen=True)
class Sum:
    products: tuple[tuple[str, Product], ...]


NAMES = ["a", "base", "v1.0", "HEAD~2", "main^", "origin/main", "x@HEAD~3", "x@feature-y", "x@{1}"]
numbers = st.lists(st.floats(0, 1e6), max_size=2).map(tuple)
signs = st.sampled_from("+-")


def sums(weights: st.SearchStrategy[str | Sum]) -> st.SearchStrategy[Sum]:
    product = st.builds(Product, numbers, weights, numbers)
    return st.builds(Sum, st.lists(st.tuples(signs, product), min_size=1, max_size=3).map(tuple))


trees = sums(st.recursive(st.sampled_from(NAMES), sums, max_leaves=8))


def printed(tree: Sum, space: str) -> str:
    text = ""
    for sign, product in tree.products:
        inner = product.weights
        middle = inner if isinstance(inner, str) else f"({printed(inner, space)})"
        factors = [*map(repr, product.before), middle, *map(repr, product.after)]
        text += f" {sign}{space}" + f"{space}*{space}".join(factors)
    return text[1:].removeprefix("+")


def evaluated(tree: Sum, outer: float = 1.0) -> list[tuple[float, str]]:
    form = []
    for sign, product in tree.products:
        own = math.prod((*product.before, *product.after), start=1.0 if sign == "+" else -1.0)
        inner = product.weights
        if isinstance(inner, str):
            form.append((outer * own, inner))
        else:
            form += evaluated(inner, outer * own)
    return form


@given(trees, st.sampled_from(["", " ", "  "]))
def test_round_trip(tree: Sum, space: str) -> None:
    form = evaluated(tree)
    assume(all(math.isfinite(scale) for scale, _ in form))
    text = printed(tree, space)
    addends = parse(text)
    assert [(addend.scale.hex(), addend.name) for addend in addends] == [
        (scale.hex(), name) for scale, name in form
    ]
    assert all(text.startswith(addend.name, addend.at) for addend in addends)
    assert is_expression(text) or text.strip() in NAMES


@given(st.text() | st.text("aexHD.12 +-*()@~^{}/:\t\n\0\udc80", max_size=40))
def test_random_text_raises_nothing_else(text: str) -> None:
    is_expression(text)
    found = outcome(text)
    if isinstance(found, ExpressionError):
        line, caret = found.pointer.split("\n")
        assert 0 <= found.at <= len(text)
        assert len(line) == len(text) or len(text) > 100
        assert caret.strip(" ") == "^"
        assert str(found).isprintable()
    else:
        assert found
        assert all(math.isfinite(addend.scale) for addend in found)
        assert all(text.startswith(addend.name, addend.at) for addend in found)
