"""`pvc tag`."""

from __future__ import annotations

import click

from pvc.cli.output import answers
from pvc.cli.shared import references
from pvc.cli.shared.repository import REVISION, TAG, opened


@click.command(
    "tag",
    epilog="Exit status: 0 success, 14 no such tag, or the name is taken.",
)
@click.argument("name", type=TAG, required=False)
@click.argument("start", type=REVISION, default="HEAD", metavar="[REV]")
@click.option("-d", "--delete", is_flag=True, help="Delete a tag.")
@answers
def command(name: str | None, start: str, delete: bool) -> None:
    """List, create or delete tags.

    \b
    pvc tag
    pvc tag v1
    pvc tag v0 HEAD~2
    """
    from pvc.repo.commands.branches import create_tag, delete_tag

    with opened() as repository:
        if name is None:
            if delete:
                raise click.UsageError("-d needs the NAME of a tag.")
            references.listed("tags", repository.git.tags(), None)
        elif delete:
            delete_tag(repository, name)
            references.done(name, None)
        else:
            references.done(name, create_tag(repository, name, start))
