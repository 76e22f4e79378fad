"""`pvc checkout`: to a directory, or into an engine."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pvc.cli.output import answers, current, short
from pvc.cli.progress import crew, threads_option
from pvc.cli.shared.engine import live_option, named, unread
from pvc.cli.shared.repository import REVISION, opened, path
from pvc.wording import size

if TYPE_CHECKING:
    from pvc.repo.commands.checkout import CheckedOut


@click.command(
    "checkout",
    epilog="Exit status: 0 done, 2 which directory or engine is not clear, 12 stored bytes are "
    "damaged, 13 the engine refuses, drifted or is gone, 14 there is no such revision, 17 edits "
    "are in the way, 19 the directory is not pvc's or was changed.",
)
@click.argument("revision", type=REVISION, required=False, metavar="REV")
@click.option(
    "--to", type=click.Path(path_type=Path), metavar="DIR",
    help="Where the weights go: a new directory, or one that pvc wrote. Without it, the only "
    "target there is, if there is one.",
)  # fmt: skip
@live_option("Write into a running engine instead; without ENGINE, the only one there is.")
@click.option("--keep-head", is_flag=True, help="Write the weights, but leave HEAD where it is.")
@click.option(
    "--force", is_flag=True,
    help="With --live: overwrite weights that are in no commit, or another repository's; they are "
    "kept first, at a tag rescue/ENGINE-TIME.",
)  # fmt: skip
@threads_option
@answers
def command(
    revision: str | None,
    to: Path | None,
    engine: str | None,
    threads: int | None,
    *,
    keep_head: bool,
    force: bool,
) -> None:
    """Write a revision's weights to a directory or an engine, verify them, and move HEAD there.

    A vector's name, an expression, or base, writes the weights only.

    \b
    pvc checkout main --to served
    pvc checkout HEAD~1                roll the only target back
    pvc checkout listening --to try    base + listening
    pvc checkout main --live           into the engine that runs, between two of its steps
    pvc checkout HEAD~1 --live chat    roll the engine chat back
    """
    if revision is None:
        taken = f"{engine} was taken for an engine: `pvc checkout {engine} --live`?"
        raise click.MissingParameter(
            taken if engine else None, param_hint="'REV'", param_type="argument"
        )
    if engine is not None and to is not None:
        raise click.UsageError("--to names a directory, and --live an engine: choose one.")
    if force and engine is None:
        raise click.UsageError("--force belongs to --live.")
    from pvc.api import checkout_target
    from pvc.repo.commands.checkout import checkout

    output, began = current(), time.monotonic()
    directory = None if to is None else path(to)
    with (
        opened() as repository,
        crew(output, threads) as workers,
        checkout_target(directory, named(engine), force=force) as target,
    ):
        done = checkout(repository, revision, target, keep_head=keep_head, crew=workers)
        branch = repository.git.branch()
    seconds = time.monotonic() - began
    document = {
        "revision": revision,
        "tree": done.built.tree.hex(),
        "layout": done.built.layout.hex(),
        **_place(done),
        "written_bytes": done.written_bytes,
        "head_moved": done.head_moved,
        "branch": branch,
        "commit": done.revision.state.commit,
        "seconds": round(seconds, 3),
    }
    output.answer(document, [*_written(done, seconds), *_head(done, branch)])


def _place(done: CheckedOut) -> dict[str, Any]:
    """The fields of where it was written."""
    rescue = done.rescue
    return {
        "directory": None if done.directory is None else str(done.directory),
        "created": done.created,
        "engine": done.engine,
        "paused_seconds": done.paused_seconds,
        "unread": done.unread,
        "rescue": None
        if rescue is None
        else {"tag": rescue.tag, "vector": rescue.vector, "tree": rescue.tree.hex()},
    }


def _written(done: CheckedOut, seconds: float) -> list[str]:
    if done.engine is not None:
        where = f"engine {done.engine}"
        how = f"written in {1000 * (done.paused_seconds or 0):.1f} ms"
    elif done.directory is not None:
        where, how = str(done.directory), "written" if done.created else "updated in place"
    else:
        return []
    checked = "verified as far as it can be read" if done.unread else "verified"
    rescue = done.rescue
    kept = [] if rescue is None else [f"{where} held what is at the tag {rescue.tag} now"]
    return [
        *kept,
        f"{where}: tree {short(done.built.tree)}, {size(done.written_bytes)} {how} and {checked}, "
        f"{seconds:.1f} s",
        *([f"{where}: {unread(done.unread)}"] if done.unread else []),
    ]


def _head(done: CheckedOut, branch: str | None) -> list[str]:
    lines = []
    if done.head_moved:
        where = f"on {branch}" if branch else "detached; `pvc switch -c NAME` begins a branch"
        lines.append(f"HEAD is at {done.revision.state.commit[:10]} ({where})")
        lines.append(str(done.revision.state.personality))
    if done.directory is None and done.engine is None:
        lines.append("no weights were written; --to DIR or --live says where they should go")
    return lines
