"""Scale, negate, merge, build, and expressions, as people type them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.test_commands import fields
from tests.repo.conftest import git

if TYPE_CHECKING:
    from tests.support.runner import Pvc

VECTOR = {
    "name", "sort", "method", "terms", "density", "lambda", "compat", "counts", "provenance",
}  # fmt: skip
RELATION = {
    "label", "elements", "norm_a", "norm_b", "cosine", "changed_a", "changed_b", "changed_both",
    "overlap", "conflicts", "conflict_share", "effective_a", "effective_b",
}  # fmt: skip


def test_scale_and_negate(pvc: Pvc) -> None:
    found = fields(pvc.json("scale", "listening", "0.25"), "scale")
    assert found["personality"] == "base + 0.25*listening + suggesting"
    assert found["paths"] == ["personality.toml"]
    assert pvc("negate", "quiet").out.splitlines()[0] == "quiet at -0.5"
    found = fields(pvc.json("negate", "quiet", "--scale", "0.75"), "negate")
    assert found["personality"] == "base + 0.25*listening + suggesting - 0.75*quiet"
    again = pvc("scale", "quiet", "-0.75")
    assert again.code == 1
    assert again.err.startswith("error: Nothing changed: the personality is base + ")


def test_a_scaled_vector_of_its_own(pvc: Pvc) -> None:
    before = pvc.json("status")["personality"]
    found = fields(pvc.json("negate", "quiet", "-o", "loud"), "negate")
    assert found["personality"] == before
    assert found["paths"] == ["vectors/loud.json"]
    shown = pvc.json("show", "loud")["vector"]
    assert set(shown) == VECTOR
    assert shown["terms"] == [{"vector": "quiet", "scale": -0.5}]
    trees = [pvc.json("build", text)["tree"] for text in ("base + loud", "base - 0.5*quiet")]
    assert trees[0] == trees[1]


@pytest.mark.parametrize("number", ["nan", "inf", "much"])
def test_scales_that_are_none(pvc: Pvc, number: str) -> None:
    done = pvc("scale", "quiet", number)
    assert done.code == 2
    assert "Traceback" not in done.err
    assert pvc.json("status")["personality"] == "base + listening + suggesting"


def test_ties(pvc: Pvc) -> None:
    found = fields(pvc.json("merge", "--ties", "listening", "quiet", "-o", "calm"), "merge --ties")
    vector = found["vector"]
    assert (vector["method"], vector["density"], vector["lambda"]) == ("ties", 0.2, 1.0)
    counts = vector["counts"]
    for name in ("listening", "quiet"):
        share = counts[f"kept {name}"] / counts["elements"]
        assert 0.19 < share < 0.5  # ties of |tau| are all kept
    assert len(found["conflicts"]) == 2
    text = pvc("merge", "--ties", "listening", "quiet", "--density", "1", "-o", "all").out
    assert [line.split()[0] for line in text.splitlines()[-3:]] == ["vector", "listening", "quiet"]
    assert "100 %" not in text  # an element that did not change is not kept either


@pytest.mark.parametrize("compat", ["mergekit", "peft"])
def test_ties_by_the_rules_of_others(pvc: Pvc, compat: str) -> None:
    words = ("merge", "--ties", "listening", "quiet", "--density", "0.3")
    found = fields(pvc.json(*words, "--compat", compat, "-o", "calm"), "merge --ties")
    recipe = f"ties(listening + quiet, density 0.3, compat {compat})"
    assert found["message"] == f"calm = {recipe}"
    assert found["vector"]["compat"] == compat
    assert pvc.json("show", "calm")["vector"]["compat"] == compat
    assert pvc("show", "calm").out.startswith(f"vector calm = {recipe}\n")
    assert recipe in pvc("log", "calm").out
    assert fields(pvc.json(*words, "-o", "other"), "merge --ties")["vector"]["compat"] is None
    trees = {pvc.json("build", f"base + {name}")["tree"] for name in ("calm", "other")}
    assert len(trees) == 2


def test_a_warning_where_scales_are_divided_by(pvc: Pvc) -> None:
    pvc("negate", "quiet")
    words = ("merge", "--ties", "listening", "quiet")
    for others in ((), ("--compat", "peft"), ("--compat", "mergekit", "--quiet")):
        assert "warning" not in pvc(*words, *others, "-o", f"v{len(others)}").err
    done = pvc(*words, "--compat", "mergekit", "-o", "calm")
    assert done.code == 0
    assert done.err.count("warning: ") == 1
    assert "compat mergekit) divides by scales, and those of quiet are negative" in done.err


def test_peft_has_no_lambda(pvc: Pvc) -> None:
    done = pvc("merge", "--ties", "listening", "quiet", "--compat", "peft", "--lambda", "0.5")
    assert (done.code, done.out) == (2, "")
    assert "peft has no lambda, which is 0.5 here and not 1" in done.err


def test_merge_takes_the_place_of_the_terms(pvc: Pvc) -> None:
    before = pvc.json("build")["tree"]
    found = fields(pvc.json("merge"), "merge")
    assert found["personality"] == "base + listening_suggesting"
    assert pvc.json("build")["tree"] == before
    assert pvc("log", "listening_suggesting").code == 0
    refused = pvc("rm", "listening")
    assert refused.code == 1
    assert "listening_suggesting depends on it" in refused.err
    assert "hint: Remove the vectors that depend on it first" in refused.err


def test_merging_a_branch(pvc: Pvc) -> None:
    pvc("switch", "-c", "work")
    pvc("scale", "listening", "0.5")
    pvc("switch", "main")
    pvc("scale", "quiet", "1")
    done = pvc("merge", "work", "-m", "both")
    assert done.out.splitlines()[0] == "both"
    assert done.out.endswith("] base + 0.5*listening + suggesting + quiet\n")
    assert pvc("merge", "work").out.splitlines()[0] == "Already up to date."


def test_a_conflict_says_both_values_and_what_to_do(pvc: Pvc) -> None:
    pvc("switch", "-c", "work")
    pvc("scale", "listening", "0.5")
    pvc("switch", "main")
    pvc("scale", "listening", "2")
    done = pvc("merge", "work")
    assert done.code == 1
    assert "the term listening (2 here, 0.5 there)" in done.err
    assert "`pvc merge --abort`" in done.err
    pvc("merge", "--abort")
    error = pvc("merge", "work", "--json").error()
    assert error["conflicts"] == [
        {"sort": "term", "name": "listening", "ours": "2", "theirs": "0.5"}
    ]
    error = pvc("commit", "-m", "x", "--json").error()
    assert error["name"] == "UnresolvedError"
    assert error["paths"] == ["personality.toml"]
    assert "personality.toml" in error["message"]
    assert pvc("scale", "quiet", "1").code == 17
    assert fields(pvc.json("merge", "--abort"), "merge --abort")["personality"] == (
        "base + 2*listening + suggesting"
    )
    assert git(pvc.directory, "status", "--porcelain") == ""
    assert pvc.json("merge", "work", "--theirs")["personality"] == (
        "base + 0.5*listening + suggesting"
    )


@pytest.mark.parametrize(
    "words",
    [
        ("work", "--ties", "--ours"),
        ("--theirs",),
        ("listening", "-m", "x"),
        ("--abort", "listening"),
        ("--density", "0.5"),
        ("--ties", "--density", "0"),
        ("--ties", "--density", "1.5"),
        ("--ties", "--density", "nan"),
        ("--lambda", "inf"),
        ("--compat", "mergekit"),
        ("--sum", "--compat", "peft"),
        ("--ties", "--compat", "nobody"),
        ("listening", "listening"),
    ],
)
def test_words_that_do_not_go_together(pvc: Pvc, words: tuple[str, ...]) -> None:
    done = pvc("merge", *words)
    assert (done.code, done.out) == (2, "")


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("base + ", 7),
        ("base + nobody - quiet", 7),
        ("base + quiet@nowhere", 13),
        ("base + (quiet", 7),
        ("2*base", 0),
        ("base + 1e200*(1e200*quiet)", 20),
        ("base + \u5b57", 7),
        ("base + '\u5b57' quiet", 7),
    ],
)
def test_a_caret_shows_where(pvc: Pvc, text: str, at: int) -> None:
    done = pvc("build", text)
    assert done.code == 14
    line, caret = done.err.splitlines()[1:3]
    assert line == f"hint: {text}"
    assert caret == " " * len("hint: ") + " " * at + "^"


def test_an_unknown_name_in_an_expression_comes_with_close_ones(pvc: Pvc) -> None:
    assert "Did you mean listening?" in pvc("build", "base + 0.5*listenin").err
    error = pvc("build", "base + 0.5*listenin", "--json").error()
    assert error["name"] == "UnknownOperandError"


def test_expressions_stand_wherever_a_revision_does(pvc: Pvc) -> None:
    text = "base + listening - 0.5*(quiet@HEAD + suggesting)"
    tree = pvc.json("build", text)["tree"]
    assert pvc.json("checkout", text, "--to", "out")["tree"] == tree
    shown = pvc.json("show", text)
    assert (shown["kind"], shown["commit"], shown["tree"]) == ("expression", None, tree)
    assert pvc("show", text).out == f"{text}\n  tree      {tree}\n"
    assert pvc.json("diff", "base", text)["total"]["changed_elements"] > 0


def test_two_vectors(pvc: Pvc) -> None:
    found = fields(pvc.json("diff", "listening", "quiet", "--by", "role"), "diff NAME NAME")
    assert found["by"] == "role"
    for row in (*found["rows"], found["total"]):
        assert set(row) >= RELATION, set(row)
    whole = found["total"]
    assert -1 <= whole["cosine"] <= 1
    assert pvc.json("diff", "listening", "listening")["total"]["cosine"] == pytest.approx(1)
    mixed = pvc("diff", "listening", "main")
    assert mixed.code == 2


# Methods


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties"])
def test_dare(pvc: Pvc, method: str) -> None:
    words = ("merge", "--method", method, "listening", "quiet", "--density", "0.3")
    found = fields(pvc.json(*words, "--seed", "7", "-o", "calm"), "merge")
    recipe = f"{method}(listening + quiet, density 0.3, seed 7)"
    assert found["message"] == f"calm = {recipe}"
    assert set(found["vector"]) == VECTOR - {"compat"} | {"seed"}
    shown = pvc.json("show", "calm")["vector"]
    assert shown == found["vector"]
    values = (shown["method"], shown["density"], shown["lambda"], shown["seed"], shown["counts"])
    assert values == (method, 0.3, 1.0, 7, {})
    assert pvc("show", "calm").out.startswith(f"vector calm = {recipe}\n")
    assert recipe in pvc("log", "calm").out
    tree = pvc.json("checkout", "base + calm", "--to", "out")["tree"]
    assert pvc("fsck").code == 0
    for name, others in (("same", ("--seed", "7", "--threads", "1")), ("other", ())):
        assert pvc(*words, *others, "-o", name).code == 0
    assert pvc.json("build", "base + same", "--threads", "2")["tree"] == tree
    assert pvc.json("build", "base + other")["tree"] != tree
    assert pvc.json("show", "other")["vector"]["seed"] == 0  # recipes always say it


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--density", "0.5"), "sum: it has no density; it has lambda."),
        (("--ties", "--seed", "1"), "ties: it has no seed; it has density, lambda, compat."),
        (
            ("--method", "dare_ties", "--compat", "peft"),
            "dare_ties: it has no compat; it has density, lambda, seed.",
        ),
        (("--method", "dare_linear", "--seed", "-1"), "its seed is -1, not from 0 to 4294967295."),
        (("--method", "dare_linear", "--density", "0"), "its density is 0.0, not above 0 and at"),
        (("--method", "slerp"), "Invalid value for '--method'"),
        (("--method", "dare_linear", "--seed", "0.5"), "Invalid value for '--seed'"),
    ],
)
def test_parameters_that_a_method_does_not_have(
    pvc: Pvc, words: tuple[str, ...], message: str
) -> None:
    done = pvc("merge", "listening", "quiet", *words)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
