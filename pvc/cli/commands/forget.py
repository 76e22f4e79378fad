"""`pvc forget`."""

from __future__ import annotations

from pathlib import Path

import click

from pvc.cli.output import answers, current
from pvc.cli.shared.engine import ENGINE
from pvc.cli.shared.repository import opened, path


@click.command("forget", epilog="Exit status: 0 done, 14 it is no target.")
@click.argument("directory", type=click.Path(path_type=Path), required=False, metavar="[DIR]")
@click.option("--live", "engine", type=ENGINE, metavar="ENGINE", help="An engine instead.")
@answers
def command(directory: Path | None, engine: str | None) -> None:
    """Forget a directory or engine that weights were checked out to; it is not touched.

    From then on it is no target: `pvc status` does not list it unless it is an engine that runs,
    and `pvc checkout` does not update it of its own accord.

    \b
    pvc forget served
    pvc forget --live chat
    """
    from pvc.repo.commands.forget import forget, forget_engine

    if (directory is None) == (engine is None):
        raise click.UsageError("Name a directory, or an engine with --live.")
    where = None if directory is None else path(directory)
    with opened() as repository:
        if where is not None:
            forget(repository, where)
        elif engine is not None:
            forget_engine(repository, engine)
    document = {"path": None if where is None else str(where), "engine": engine}
    current().answer(document, [f"{where or f'the engine {engine}'} is no target any more"])
