"""`pvc forget`."""

from __future__ import annotations

from pathlib import Path

import click

from pvc.cli.output import answers, current
from pvc.cli.shared.engine import ENGINE
from pvc.cli.shared.repository import opened, path


@click.command("forget", epilog="Exit status: 0 success, 14 not a target.")
@click.argument("directory", type=click.Path(path_type=Path), required=False, metavar="[DIR]")
@click.option("--live", "engine", type=ENGINE, metavar="ENGINE", help="Forget an engine.")
@answers
def command(directory: Path | None, engine: str | None) -> None:
    """Remove a directory or an engine from the targets.

    It is not touched. `pvc status` stops listing it, unless it is a running engine, and `pvc
    checkout` stops updating it by default.

    \b
    pvc forget served
    pvc forget --live chat
    """
    from pvc.repo.commands.forget import forget, forget_engine

    if (directory is None) == (engine is None):
        raise click.UsageError("Give either DIR or --live ENGINE.")
    where = None if directory is None else path(directory)
    with opened() as repository:
        if where is not None:
            forget(repository, where)
        elif engine is not None:
            forget_engine(repository, engine)
    document = {"path": None if where is None else str(where), "engine": engine}
    current().answer(document, [f"{where or f'engine {engine}'} is no longer a target"])
