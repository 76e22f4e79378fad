"""`pvc show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pvc.cli.commands.log import event_document, event_lines
from pvc.cli.output import answers, current
from pvc.cli.shared.repository import REVISION, opened

if TYPE_CHECKING:
    from pvc.repo.commands.log import Shown
    from pvc.repo.history.revision import Revision


@click.command(
    "show",
    epilog="Exit status: 0 success, 14 no such vector or revision.",
)
@click.argument("revision", type=REVISION, default="HEAD", metavar="[REV]")
@answers
def command(revision: str) -> None:
    """Show a vector, a commit, an expression or the base in detail.

    \b
    pvc show listening
    pvc show HEAD~1
    pvc show base
    """
    from pvc.repo.commands.log import show

    with opened(need_store=False) as repository:
        found = show(repository, revision)
        current().answer(_document(found), _lines(found))


def _document(found: Shown) -> dict[str, Any]:
    from pvc.cli.shared.vector import document

    vector = found.revision.vector
    return {
        "revision": found.revision.text,
        "kind": _kind(found.revision),
        "vector": None if vector is None else document(*vector),
        "commit": None if found.event is None else event_document(found.event),
        "tree": None if found.built is None else found.built.tree.hex(),
        "layout": None if found.built is None else found.built.layout.hex(),
        "noted": found.noted,
    }


def _kind(revision: Revision) -> str:
    if revision.parts is not None:
        return "expression"
    if revision.is_base:
        return "base"
    return "commit" if revision.vector is None else "vector"


def _lines(found: Shown) -> list[str]:
    from pvc.cli.shared.vector import lines

    if found.revision.vector is not None:
        written = [] if found.event is None else ["", *event_lines(found.event)]
        return [*lines(*found.revision.vector), *written]
    config = found.revision.state.config
    tree = "not built yet" if found.built is None else found.built.tree.hex()
    if found.revision.parts is not None:
        return [found.revision.text, f"  tree      {tree}"]
    if found.revision.is_base or found.event is None:
        stored = "value" if config.by_value else "reference"
        return [
            f"base {config.base_tree.hex()}",
            f"  from      {config.base_path}",
            f"  stored    by {stored}",
        ]
    entry = found.event.entry
    return [*event_lines(found.event), f"    tree {tree}", f"    {entry.author}, {entry.date}"]
