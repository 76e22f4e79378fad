"""The rooms: who may import whom, what each says of itself, and the pages that show them."""

from __future__ import annotations

import re

import pytest
from importlinter.cli import lint_imports

from tests import rooms

ROOT = rooms.ROOT
PACKAGES = rooms.packages()


def test_contracts_hold() -> None:
    assert lint_imports(no_cache=True, no_logo=True) == 0


def test_the_page_of_the_rooms_is_made_of_their_docstrings() -> None:
    page = (ROOT / "docs" / "rooms.md").read_text()
    assert page == rooms.page(), "renew it: python -m tests.rooms > docs/rooms.md"


@pytest.mark.parametrize("name", PACKAGES)
def test_a_room_says_what_it_is_for_and_where_its_tests_are(name: str) -> None:
    lines = PACKAGES[name].splitlines()
    assert len(lines) >= 5
    folders = re.findall(r"(tests/[a-z_/]*/)", lines[-1])
    assert lines[-1].startswith("Tests: ")
    assert folders
    for folder in folders:
        assert any((ROOT / folder).rglob("test_*.py")), folder


def test_the_tree_in_the_readme_is_what_is_there() -> None:
    text = (ROOT / "README.md").read_text()
    tree = text[text.index("## Where things are") :].split("\n\n")[1]
    named = [line.split()[0] for line in tree.splitlines()]
    assert all((ROOT / name).exists() for name in named)
    packages = {f"pvc/{path.name}/" for path in (ROOT / "pvc").iterdir() if path.is_dir()}
    assert packages - {"pvc/__pycache__/"} <= set(named)
