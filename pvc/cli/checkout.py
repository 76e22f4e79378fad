"""`pvc checkout`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pvc.cli.output import answers, current, short, size
from pvc.cli.progress import crew, threads_option
from pvc.cli.repository import REVISION, opened, path

if TYPE_CHECKING:
    from pvc.repo.checkout import CheckedOut


@click.command(
    "checkout",
    epilog="Exit status: 0 done, 2 which directory is not clear, 12 stored bytes are damaged, 14 "
    "there is no such revision, 17 edits are in the way, 19 the directory is not pvc's or "
    "was changed.",
)
@click.argument("revision", type=REVISION, metavar="REV")
@click.option(
    "--to", type=click.Path(path_type=Path), metavar="DIR",
    help="Where the weights go: a new directory, or one that pvc wrote. Without it, the only "
    "target there is, if there is one.",
)  # fmt: skip
@click.option("--keep-head", is_flag=True, help="Write the weights, but leave HEAD where it is.")
@threads_option
@answers
def command(revision: str, to: Path | None, keep_head: bool, threads: int | None) -> None:
    """Write a revision's weights to a directory, verify them, and move HEAD there.

    A vector's name, or base, writes the weights only.

    \b
    pvc checkout main --to served
    pvc checkout HEAD~1                roll the only target back
    pvc checkout listening --to try    base + listening
    """
    from pvc.repo.checkout import checkout

    output, began = current(), time.monotonic()
    with opened() as repository, crew(output, threads) as workers:
        target = None if to is None else path(to)
        done = checkout(repository, revision, target, keep_head=keep_head, crew=workers)
        branch = repository.git.branch()
    seconds = time.monotonic() - began
    document = {
        "revision": revision,
        "tree": done.built.tree.hex(),
        "layout": done.built.layout.hex(),
        "directory": None if done.directory is None else str(done.directory),
        "created": done.created,
        "written_bytes": done.written_bytes,
        "head_moved": done.head_moved,
        "branch": branch,
        "commit": done.revision.state.commit,
        "seconds": round(seconds, 3),
    }
    output.answer(document, _lines(done, branch, seconds))


def _lines(done: CheckedOut, branch: str | None, seconds: float) -> list[str]:
    lines = []
    if done.directory is not None:
        how = "written" if done.created else "updated in place"
        lines.append(
            f"{done.directory}: tree {short(done.built.tree)}, {size(done.written_bytes)} {how} "
            f"and verified, {seconds:.1f} s"
        )
    if done.head_moved:
        where = f"on {branch}" if branch else "detached; `pvc switch -c NAME` begins a branch"
        lines.append(f"HEAD is at {done.revision.state.commit[:10]} ({where})")
        lines.append(str(done.revision.state.personality))
    if done.directory is None:
        lines.append("no weights were written; --to DIR says where they should go")
    return lines
