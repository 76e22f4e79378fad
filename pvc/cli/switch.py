"""`pvc switch`."""

from __future__ import annotations

import click

from pvc.cli.output import answers, current
from pvc.cli.repository import REVISION, opened


@click.command("switch")
@click.argument("name", type=REVISION)
@click.argument("start", type=REVISION, default="HEAD", metavar="[REV]")
@click.option("-c", "--create", is_flag=True, help="Make the branch first, at REV.")
@answers
def command(name: str, start: str, create: bool) -> None:
    """Move HEAD to a branch, leaving weights where they are."""
    from pvc.repo.refs import switch

    if not create and start != "HEAD":
        raise click.UsageError("REV says where a new branch begins: it needs -c.")
    with opened() as repository:
        commit = switch(repository, name, create=create, start=start)
    current().answer({"branch": name, "commit": commit}, [f"on {name}, at {commit[:10]}"])
