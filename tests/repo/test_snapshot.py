"""Snapshots: a commit, and the same with some of its files changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pvc.merge.methods import SUM
from pvc.repo.commands.combine import Combination, combine
from pvc.repo.personality import personality_file, vector_file
from pvc.repo.personality.config import ConfigError
from pvc.repo.personality.personality_file import Personality, Term
from pvc.repo.personality.vector import DerivedVector, Recipe
from pvc.repo.personality.vector_file import VectorError
from pvc.repo.snapshot import NoVectorError
from tests.repo.conftest import CREW
from tests.support.merging import trimmed

if TYPE_CHECKING:
    from pvc.repo.personality.vector import Vector
    from pvc.repo.repository import Repository


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files of vectors that were parsed since."""
    seen: list[str] = []
    plain = vector_file.parse

    def parse(text: str, where: str) -> Vector:
        seen.append(where.partition(" ")[0])
        return plain(text, where)

    monkeypatch.setattr(vector_file, "parse", parse)
    return seen


def test_no_vector_is_parsed_twice(made: Repository, parsed: list[str]) -> None:
    combine(made, Combination(("listening", "quiet"), "ties", trimmed(0.5), "calm"), CREW)
    names = ("listening", "suggesting", "quiet", "calm")
    assert sorted(parsed) == sorted(f"vectors/{name}.json" for name in names)


def test_with_files(made: Repository, parsed: list[str]) -> None:
    head = made.head()
    before = head.formula
    changed = head.with_files({"vectors/quiet.json": None, "vectors/more.json": b"{}"})
    assert head.names == ("listening", "quiet", "suggesting")
    assert changed.names == ("listening", "more", "suggesting")
    assert changed.formula == before
    assert sorted(parsed) == ["vectors/listening.json", "vectors/suggesting.json"]
    with pytest.raises(NoVectorError) as missing:
        changed.vector("quiet")
    assert missing.value.where == "the edited files"
    with pytest.raises(VectorError) as malformed:
        changed.vector("more")
    assert malformed.value.where == "vectors/more.json"
    assert changed.with_files({"vectors/more.json": None}).names == ("listening", "suggesting")


def test_with_vector_and_personality(made: Repository, parsed: list[str]) -> None:
    head = made.head()
    half = DerivedVector(Recipe(SUM, (Term("quiet", 0.5),)))
    after = head.with_vector("half", half).with_personality(Personality((Term("half"),)))
    assert list(after.changes) == ["vectors/half.json", personality_file.PATH]
    assert str(after.personality) == "base + half"
    assert len(after.formula.links) == 1
    assert parsed == ["vectors/quiet.json"]
    assert after.with_files({}).vector("half") == half
    assert head.with_personality(head.personality) is head


def test_a_snapshot_without_configuration(made: Repository) -> None:
    with pytest.raises(ConfigError):
        _ = made.head().with_files({"pvc.toml": None}).config
