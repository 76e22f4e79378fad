"""The registry of merge methods, and what follows from it."""

from __future__ import annotations

import inspect
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given

from pvc.merge.method import Method, ParameterError, Rule, ScaleEffect
from pvc.merge.methods import METHODS, SUM, rule
from pvc.merge.parameters import Choice, Integer, Number, Parameter, Value, shortest
from pvc.repo.personality.formula import FormulaPart, Link, Mix, reduced
from tests.merge.reference import table
from tests.support.merging import rules
from tests.support.runner import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

RESERVED = {"method", "terms", "parts", "name", "sort", "counts", "provenance", "new", "factor"}
"""What JSON documents and the command line have beside the parameters of a method."""


def test_the_page_has_the_table() -> None:
    page = (ROOT / "docs" / "format" / "vector.md").read_text()
    assert table() in page, "renew it: python -m tests.merge.reference"


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_row_is_complete(method: Method) -> None:
    assert method.name.isidentifier()
    assert method.help.endswith(".")
    assert ", arXiv " in method.paper
    signature = inspect.signature(method.kernel)
    assert list(signature.parameters) == ["block", "rule", "out"]
    names = [parameter.name for parameter in method.parameters]
    assert len(set(names)) == len(names)
    assert not RESERVED & set(names)
    optional = [parameter.is_optional for parameter in method.parameters]
    assert optional == sorted(optional), "optional ones are last in digests"
    for parameter in method.parameters:
        assert parameter.name.isidentifier()
        assert parameter.help.endswith(".")
        assert parameter.is_optional or parameter.allows(parameter.default)


def test_a_parameter_means_the_same_in_all_methods() -> None:
    seen: dict[str, Parameter] = {}
    for method in METHODS.values():
        for parameter in method.offered:
            known = seen.setdefault(parameter.name, parameter)
            assert replace(parameter, default=None) == replace(known, default=None)


@given(how=rules())
def test_values_come_back(how: Rule) -> None:
    for parameter in how.method.parameters:
        value = how[parameter.name]
        exact = parameter.exact(value)
        assert repr(parameter.read_exact(exact)) == repr(value)
        if value is not None:
            assert repr(parameter.read(parameter.text(value))) == repr(value)


@pytest.mark.parametrize(
    ("method", "parameters", "reason"),
    [
        ("nothing", {}, f"there is no such method, but {', '.join(METHODS)}"),
        ("sum", {"density": 0.5}, "it has no density; it has lambda"),
        ("sum", {"compat": None}, "it has no compat; it has lambda"),
        ("ties", {"seed": 1}, "it has no seed; it has density, lambda, compat"),
        ("ties", {"compat": "nobody"}, "its compat is 'nobody', not mergekit or peft"),
        ("ties", {"compat": "peft", "lambda": 0.5}, "peft has no lambda, which is 0.5 here and"),
        ("dare_linear", {"compat": "peft"}, "it has no compat; it has density, lambda, seed"),
        ("dare_ties", {"density": 0.0}, "its density is 0.0, not above 0 and at most 1"),
        ("dare_ties", {"density": 1.5}, "its density is 1.5, not above 0 and at most 1"),
        ("dare_ties", {"density": math.nan}, "its density is nan, not above 0 and at most 1"),
        ("dare_ties", {"density": "0.5"}, "its density is '0.5', not above 0 and at most 1"),
        ("dare_ties", {"lambda": -math.inf}, "its lambda is -inf, not finite"),
        ("dare_linear", {"seed": -1}, "its seed is -1, not from 0 to 4294967295"),
        ("dare_linear", {"seed": 1 << 32}, "its seed is 4294967296, not from 0"),
        ("dare_linear", {"seed": 1.0}, "its seed is 1.0, not from 0 to"),
        ("dare_linear", {"seed": True}, "its seed is True, not from 0 to"),
    ],
)
def test_what_a_method_refuses(method: str, parameters: Mapping[str, Value], reason: str) -> None:
    with pytest.raises(ParameterError) as caught:
        rule(method, parameters)
    assert caught.value.method == method
    assert caught.value.reason.startswith(reason)
    assert str(caught.value) == f"Vectors cannot be merged by {method}: {caught.value.reason}."


def test_whole_numbers_are_numbers_too() -> None:
    assert rule("ties", {"density": 1, "lambda": 2}) == rule(
        "ties", {"density": 1.0, "lambda": 2.0}
    )


@pytest.mark.parametrize("text", ["01", "+1", " 1", "1.0", "", "-", "٣", "1e3", "-0", "0x1"])
def test_whole_numbers_have_one_text(text: str) -> None:
    with pytest.raises(ValueError, match="no whole number in its shortest form"):
        Integer(name="n", help="N.", least=-9, most=9).read(text)


@pytest.mark.parametrize("text", ["1", "nan", "inf", "01.0", "", "1.00", "1_0.0"])
def test_numbers_have_one_text(text: str) -> None:
    with pytest.raises(ValueError, match="no number in its shortest form"):
        shortest(text)


# A method that somebody adds

STRENGTH = Number(name="strength", help="How much.", default=0.25, above=0, at_most=1)
ROUNDS = Integer(name="rounds", help="How often.", default=3, least=1, most=9)
FLAVOUR = Choice(name="flavour", help="Which.", choices=("sweet", "sour"))
NEWER = Choice(name="newer", help="Which.", choices=("yes",))
LINKS = [Link(b"\1" * 32, b"\1" * 32, bytes([n]) * 32, b"\4" * 32) for n in (2, 3)]


def method(*parameters: Parameter, **others: Any) -> Method:
    return Method("own", "Try it.", "None, arXiv 0000.00000", parameters, **others)


def test_digests_stay_when_a_method_gets_an_optional_parameter() -> None:
    parts = (FormulaPart(1.0, LINKS[0]), FormulaPart(-0.5, LINKS[1]))
    own = method(STRENGTH, ROUNDS, FLAVOUR)
    more = method(STRENGTH, ROUNDS, FLAVOUR, NEWER)
    seen = set()
    for given_values in ({}, {"flavour": "sour"}, {"rounds": 4}):
        digest = Mix(own.rule(given_values), parts).digest()
        assert Mix(more.rule(given_values), parts).digest() == digest
        seen.add(digest)
    for given_values in ({"newer": "yes"}, {"newer": "yes", "flavour": "sour"}):
        seen.add(Mix(more.rule(given_values), parts).digest())
    assert len(seen) == 5


def test_nothing_is_simplified_unless_a_method_says_so() -> None:
    own = method().rule()
    assert own.effect == ScaleEffect()
    assert own.facts is None
    twice = FormulaPart(1.0, Mix(SUM, (FormulaPart(2.0, LINKS[0]),)))
    for part in (FormulaPart(0.0, LINKS[0]), twice):
        operand = reduced(FormulaPart(0.5, Mix(own, (part,)))).operand
        assert operand == Mix(own, (part,))
    factor = method(effect=lambda _: ScaleEffect(factor=0.0)).rule()
    assert reduced(FormulaPart(0.5, Mix(factor, (twice,)))).scale == 0


def test_words_leave_out_quiet_defaults() -> None:
    own = method(STRENGTH, replace(ROUNDS, is_quiet=True), replace(FLAVOUR, is_quiet=True))
    assert own.rule().words == ["strength 0.25"]
    assert own.rule({"rounds": 4, "flavour": "sour"}).words == [
        "strength 0.25", "rounds 4", "flavour sour",
    ]  # fmt: skip


def test_a_kernel_is_loaded_when_it_is_needed() -> None:
    own = method()
    with pytest.raises(ModuleNotFoundError, match=r"pvc\.merge\.own"):
        _ = own.kernel
