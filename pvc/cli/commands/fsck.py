"""`pvc fsck`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pvc.cli.exit_codes import NO
from pvc.cli.output import answers, current
from pvc.cli.progress import crew, threads_option
from pvc.cli.shared.repository import opened
from pvc.wording import number

if TYPE_CHECKING:
    from pvc.repo.commands.fsck import Report
    from pvc.repo.upkeep.findings import Finding

DEPENDENTS_SHOWN = 6


@click.command("fsck", epilog="Exit status: 0 nothing is broken, 1 something is.")
@threads_option
@answers
def command(threads: int | None) -> None:
    """Check that everything history needs is there, and is what its name says.

    Reads git's objects, every manifest, tree, layout, pack, block, tensor and file; names what
    depends on anything that is broken.

    \b
    pvc fsck
    """
    from pvc.repo.commands.fsck import fsck

    output = current()
    with opened() as repository, crew(output, threads) as workers:
        found = fsck(repository, workers)
    output.answer(_document(found), _lines(found))
    if found.findings:
        raise click.exceptions.Exit(NO)


def _document(found: Report) -> dict[str, Any]:
    return {
        "clean": not found.findings,
        "commits": found.commits,
        "trees": found.trees,
        "blocks": found.blocks,
        "findings": [
            {
                "what": one.what,
                "name": one.name,
                "detail": one.detail,
                "dependents": list(one.dependents),
            }
            for one in found.findings
        ],
    }


def _lines(found: Report) -> list[str]:
    looked = (
        f"{number(found.commits)} commits, {number(found.trees)} trees, "
        f"{number(found.blocks)} blocks"
    )
    if not found.findings:
        return [f"{looked}: nothing is broken"]
    lines = [line for one in found.findings for line in _finding(one)]
    broken = len(found.findings)
    things = "1 thing is broken" if broken == 1 else f"{number(broken)} things are broken"
    return [*lines, f"{looked}: {things}"]


def _finding(one: Finding) -> list[str]:
    lines = [f"{one.what} {one.name}", f"    {one.detail}"]
    if one.dependents:
        more = len(one.dependents) - DEPENDENTS_SHOWN
        named = ", ".join(one.dependents[:DEPENDENTS_SHOWN])
        lines.append(f"    needed by {named}{f' and {more} more' if more > 0 else ''}")
    return lines
