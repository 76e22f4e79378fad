"""`pvc fsck`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pvc.cli.exit_codes import NO
from pvc.cli.output import answers, current
from pvc.cli.progress import crew, threads_option
from pvc.cli.shared.repository import opened
from pvc.wording import counted, shown

if TYPE_CHECKING:
    from pvc.repo.commands.fsck import Report
    from pvc.repo.upkeep.findings import Finding

DEPENDENTS_SHOWN = 6


@click.command("fsck", epilog="Exit status: 0 no damage, 1 damage found.")
@threads_option
@answers
def command(threads: int | None) -> None:
    """Check that all stored data is complete and undamaged.

    Reads all of git's objects, and all manifests, trees, layouts, packs, blocks, tensors and files.
    For damaged ones, lists what depends on them.

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
        f"{counted(found.commits, 'commit')}, {counted(found.trees, 'tree')}, "
        f"{counted(found.blocks, 'block')}"
    )
    if not found.findings:
        return [f"{looked}: no damage"]
    lines = [line for one in found.findings for line in _finding(one)]
    return [*lines, f"{looked}: {counted(len(found.findings), 'problem')}"]


def _finding(one: Finding) -> list[str]:
    lines = [f"{one.what} {one.name}", f"    {one.detail}"]
    if one.dependents:
        lines.append(f"    needed by {shown(one.dependents, DEPENDENTS_SHOWN)}")
    return lines
