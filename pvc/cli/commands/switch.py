"""`pvc switch`."""

from __future__ import annotations

import click

from pvc.cli.output import answers, current
from pvc.cli.shared.repository import BRANCH, REVISION, opened


@click.command(
    "switch",
    epilog="Exit status: 0 success, 14 no such branch, or the name is taken, 17 uncommitted edits.",
)
@click.argument("name", type=BRANCH)
@click.argument("start", type=REVISION, default="HEAD", metavar="[REV]")
@click.option("-c", "--create", is_flag=True, help="Create the branch at REV.")
@answers
def command(name: str, start: str, create: bool) -> None:
    """Move HEAD to a branch, without writing weights.

    \b
    pvc switch main
    pvc switch -c gentler HEAD~1        create a branch
    """
    from pvc.repo.commands.branches import switch

    if not create and start != "HEAD":
        raise click.UsageError("REV is the start of a new branch: it needs -c.")
    with opened() as repository:
        commit = switch(repository, name, create=create, start=start)
    current().answer({"branch": name, "commit": commit}, [f"on {name}, at {commit[:10]}"])
