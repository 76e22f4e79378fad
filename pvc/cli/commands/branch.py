"""`pvc branch`."""

from __future__ import annotations

import click

from pvc.cli.output import answers
from pvc.cli.shared import references
from pvc.cli.shared.repository import BRANCH, REVISION, opened


@click.command(
    "branch",
    epilog="Exit status: 0 success, 1 the branch is not merged or is checked out, 14 no such "
    "branch, or the name is taken.",
)
@click.argument("name", type=BRANCH, required=False)
@click.argument("start", type=REVISION, default="HEAD", metavar="[REV]")
@click.option("-d", "--delete", is_flag=True, help="Delete a branch that is merged.")
@click.option(
    "-D", "--force-delete", is_flag=True, help="Delete a branch even if it is not merged."
)
@answers
def command(name: str | None, start: str, delete: bool, force_delete: bool) -> None:
    """List, create or delete branches.

    \b
    pvc branch
    pvc branch gentler HEAD~1
    pvc branch -d gentler
    """
    from pvc.repo.commands.branches import create_branch, delete_branch

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
