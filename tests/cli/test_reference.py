"""The help texts, and the page that is made of them."""

from __future__ import annotations

import re

import click
import pytest

from pvc.cli.exit_codes import EXIT_STATUS
from pvc.cli.main import SECTIONS, group
from tests.cli.reference import reference
from tests.support.runner import ROOT

NAMES = [name for names in SECTIONS.values() for name in names]


def test_the_page_is_up_to_date() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    assert page == reference(), "renew it: python -m tests.cli.reference > docs/cli.md"


@pytest.mark.parametrize("name", NAMES)
def test_a_command_says_what_it_does_in_one_line(name: str) -> None:
    command = group.get_command(click.Context(group), name)
    assert command is not None
    assert command.name == name
    short = command.get_short_help_str(100)
    assert short.endswith(".")
    assert not short.endswith("...")
    assert all(
        parameter.help for parameter in command.params if isinstance(parameter, click.Option)
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_command_shows_examples_and_its_exit_codes(name: str) -> None:
    command = group.get_command(click.Context(group), name)
    assert command is not None
    assert re.search(rf"\x08\n *pvc {name}\b", command.help or "")
    assert (command.epilog or "").startswith("Exit status: 0 ")
    codes = {int(code) for code in re.findall(r"\b(\d+) ", command.epilog or "")}
    assert codes <= {code for code, _ in EXIT_STATUS}


def test_every_module_of_a_command_is_in_a_section() -> None:
    modules = {path.stem for path in (ROOT / "pvc" / "cli" / "commands").glob("*.py")}
    below = {name for name in modules if name.partition("_")[0] in NAMES and "_" in name}
    assert modules - below == {"__init__", *NAMES}
    assert below == {"live_hold", "live_restore"}
    assert len(NAMES) == len(set(NAMES))


def test_exit_codes_differ_and_are_sorted() -> None:
    codes = [code for code, _ in EXIT_STATUS]
    assert codes == sorted(set(codes))
