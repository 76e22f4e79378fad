"""Recipes of the first release: their files, words, formulas and digests stay what they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pvc.repo.personality import vector_file
from pvc.repo.personality.config import Config
from pvc.repo.personality.formula import Link, Mix, reduced
from pvc.repo.personality.formula_file import formula_json, read_formula
from pvc.repo.personality.resolve import Names, total
from pvc.repo.personality.vector import CapturedVector, DerivedVector, Vector

GOLDEN = Path(__file__).with_name("golden") / "recipes.json"
BASE, LAYOUT = bytes([0x11]) * 32, bytes([0x99]) * 32
CONFIG = Config(BASE, LAYOUT, "/base", by_value=True)
NAMES = "abcd"


class Captured(CapturedVector):
    """A vector of which only the trees matter here."""

    def __init__(self, number: int) -> None:
        super().__init__(
            BASE, BASE, bytes([0x20 + number]) * 32, bytes([0x30 + number]) * 32,
            None,  # type: ignore[arg-type]
        )  # fmt: skip


def vectors(recipes: dict[str, str]) -> dict[str, Vector]:
    found: dict[str, Vector] = {name: Captured(at) for at, name in enumerate(NAMES)}
    return found | {name: vector_file.parse(text, name) for name, text in recipes.items()}


def described(name: str, known: dict[str, Vector]) -> dict[str, Any]:
    """All that is stored or printed of a derived vector."""
    vector = known[name]
    assert isinstance(vector, DerivedVector)
    part = Names(CONFIG, known.__getitem__).part(name, -0.5)
    assert isinstance(part.operand, Mix)
    formula = total(CONFIG, [part])
    simple = reduced(part)
    return {
        "words": str(vector.recipe),
        "digest": part.operand.digest().hex(),
        "formula": formula_json(formula),
        "formula digest": formula.digest().hex(),
        "reduced to": "link" if isinstance(simple.operand, Link) else simple.operand.digest().hex(),
        "reduced scale": float(simple.scale).hex(),
    }


RECIPES: dict[str, dict[str, Any]] = json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("name", RECIPES)
def test_what_exists_stays(name: str) -> None:
    texts = {one: found["text"] for one, found in RECIPES.items()}
    known = vectors(texts)
    assert vector_file.to_text(known[name]) == texts[name]
    found = described(name, known)
    for key, value in found.items():
        assert json.dumps(value) == json.dumps(RECIPES[name][key]), key
    formula = total(CONFIG, [Names(CONFIG, known.__getitem__).part(name, -0.5)])
    again = read_formula(RECIPES[name]["formula"])
    assert (again, again.digest()) == (formula, formula.digest())
