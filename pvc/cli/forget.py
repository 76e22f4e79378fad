"""`pvc forget`."""

from __future__ import annotations

from pathlib import Path

import click

from pvc.cli.output import answers, current
from pvc.cli.repository import opened, path


@click.command("forget", epilog="Exit status: 0 done, 14 the directory is no target.")
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@answers
def command(directory: Path) -> None:
    """Forget a directory that weights were checked out to; nothing in it is touched.

    From then on it is no target: `pvc status` does not list it, and `pvc checkout` does not update
    it.

    \b
    pvc forget served
    """
    from pvc.repo.forget import forget

    where = path(directory)
    with opened() as repository:
        forget(repository, where)
    current().answer({"path": str(where)}, [f"{where} is no target any more"])
