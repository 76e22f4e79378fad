"""`pvc live restore`: an engine that was restarted gets its weights back."""

from __future__ import annotations

import time

import click

from pvc.cli.output import answers, current, short
from pvc.cli.progress import crew, threads_option
from pvc.cli.shared.engine import ENGINE, chosen, rescue_fields
from pvc.cli.shared.repository import opened
from pvc.wording import size


@click.command(
    "restore",
    epilog="Exit status: 0 success, 2 several engines run and none was named, 12 the weights are "
    "not stored, 13 the engine refuses or holds weights that are in no commit, 14 this repository "
    "does not know it.",
)
@click.argument("engine", type=ENGINE, required=False)
@click.option(
    "--force", is_flag=True,
    help="Overwrite weights that are in no commit, after saving them at a tag.",
)  # fmt: skip
@threads_option
@answers
def restore(engine: str | None, threads: int | None, *, force: bool) -> None:
    """Bring a restarted engine back to the weights it had, bit for bit.

    Those are what pvc last wrote into an engine of its name, or committed from it. HEAD stays.

    \b
    pvc live restore
    pvc live restore chat
    """
    from pvc.live.commands.restore import restore

    output, began = current(), time.monotonic()
    with (
        opened() as repository,
        chosen(repository, engine) as connection,
        crew(output, threads) as workers,
    ):
        done = restore(repository, connection, workers, force=force)
    seconds = time.monotonic() - began
    rescue = done.rescue
    document = {
        "engine": done.engine,
        "revision": done.revision,
        "tree": done.tree.hex(),
        "written_bytes": done.nbytes,
        "rescue": rescue_fields(rescue),
        "seconds": round(seconds, 3),
    }
    lines = [] if rescue is None else [f"kept what it held at the tag {rescue.tag}"]
    what = f"{done.revision}, tree {short(done.tree)}"
    written = f"{size(done.nbytes)} written" if done.nbytes else "it had them"
    lines.append(f"engine {done.engine} has {what}; {written}, verified, {seconds:.1f} s")
    output.answer(document, lines)
