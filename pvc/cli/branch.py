"""`pvc branch`."""

from __future__ import annotations

import click

from pvc.cli import references
from pvc.cli.output import answers
from pvc.cli.repository import REVISION, opened


@click.command("branch")
@click.argument("name", type=REVISION, required=False)
@click.argument("start", type=REVISION, default="HEAD", metavar="[REV]")
@click.option("-d", "--delete", is_flag=True, help="Delete the branch if it is merged.")
@click.option("-D", "--force-delete", is_flag=True, help="Delete the branch in any case.")
@answers
def command(name: str | None, start: str, delete: bool, force_delete: bool) -> None:
    """List branches, make one, or delete one."""
    from pvc.repo.refs import create_branch, delete_branch

    with opened() as repository:
        if name is None:
            if delete or force_delete:
                raise click.UsageError("-d and -D need the NAME of a branch.")
            references.listed("branches", repository.git.branches(), repository.git.branch())
        elif delete or force_delete:
            delete_branch(repository, name, force=force_delete)
            references.done(name, None)
        else:
            references.done(name, create_branch(repository, name, start))
