"""`pvc checkout`: to a directory, or into an engine."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pvc.cli.output import answers, current, short
from pvc.cli.progress import crew, threads_option
from pvc.cli.shared.engine import live_option, named, rescue_fields, unread
from pvc.cli.shared.overflow import nonfinite_option, overflow_fields, warn_of_overflows
from pvc.cli.shared.repository import REVISION, opened, path
from pvc.wording import counted, shown, size

if TYPE_CHECKING:
    from pvc.repo.commands.checkout import CheckedOut

LOSS = 0.9
"""Below this share of the change, rounding is worth a remedy."""


@click.command(
    "checkout",
    epilog="Exit status: 0 success, 2 several targets or engines and none was named, 12 stored "
    "data is damaged, 13 the engine refuses, has drifted or has ended, 14 no such revision, 16 the "
    "weights overflow, 17 uncommitted edits, 19 the directory was not written by pvc, or was "
    "changed.",
)
@click.argument("revision", type=REVISION, required=False, metavar="REV")
@click.option(
    "--to", type=click.Path(path_type=Path), metavar="DIR",
    help="Directory to write to: a new one, or one that pvc wrote. Default: the only target, if "
    "there is one.",
)  # fmt: skip
@live_option("Write to a running engine instead. Default for ENGINE: the only one.")
@click.option(
    "--dtype", metavar="DTYPE",
    help="Round weights that were committed in wider floats to the base's dtype, named or `base`; "
    "HEAD does not move.",
)  # fmt: skip
@click.option("--keep-head", is_flag=True, help="Write the weights without moving HEAD.")
@click.option(
    "--force", is_flag=True,
    help="With --live: overwrite weights that are in no commit, or another repository's. They "
    "are saved at a tag rescue/ENGINE-TIME first.",
)  # fmt: skip
@nonfinite_option
@threads_option
@answers
def command(
    revision: str | None,
    to: Path | None,
    engine: str | None,
    threads: int | None,
    *,
    force: bool,
    **how: Any,
) -> None:
    """Write a revision's weights to a directory or an engine.

    The weights are verified, and HEAD moves to REV. If REV is a vector, an expression or base, HEAD
    does not move.

    \b
    pvc checkout main --to served
    pvc checkout HEAD~1                roll back the only target
    pvc checkout listening --to try    base + listening
    pvc checkout main --live           into the running engine, between two steps
    pvc checkout HEAD~1 --live chat    roll back the engine chat
    """
    if revision is None:
        taken = f"{engine} was read as an engine; did you mean `pvc checkout {engine} --live`?"
        raise click.MissingParameter(
            taken if engine else None, param_hint="'REV'", param_type="argument"
        )
    if engine is not None and to is not None:
        raise click.UsageError("--to and --live cannot be used together.")
    if force and engine is None:
        raise click.UsageError("--force needs --live.")
    from pvc.api import checkout_target
    from pvc.repo.commands.checkout import checkout

    output, began = current(), time.monotonic()
    directory = None if to is None else path(to)
    with (
        opened() as repository,
        crew(output, threads) as workers,
        checkout_target(repository, directory, named(engine), force=force) as target,
    ):
        done = checkout(repository, revision, target, crew=workers, **how)
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
        "dtypes": None if done.dtypes is None else asdict(done.dtypes),
        "overflows": overflow_fields(done.overflows),
        "seconds": round(seconds, 3),
    }
    output.answer(document, [*_written(done, seconds), *_dtypes(done), *_head(done, branch)])
    warn_of_overflows(output, done.overflows)
    if done.unloaded:
        tensors = counted(len(done.unloaded), "changed tensor")
        output.warn(
            f"the engine {done.engine} does not load {tensors} ({shown(done.unloaded)}): what was "
            "trained there has no effect in it"
        )


def _place(done: CheckedOut) -> dict[str, Any]:
    """The fields of the directory or engine."""
    return {
        "directory": None if done.directory is None else str(done.directory),
        "created": done.created,
        "engine": done.engine,
        "paused_seconds": done.paused_seconds,
        "unread": done.unread,
        "unloaded": list(done.unloaded),
        "rescue": rescue_fields(done.rescue),
    }


def _written(done: CheckedOut, seconds: float) -> list[str]:
    if done.engine is not None:
        where = f"engine {done.engine}"
        how = f"written in {1000 * (done.paused_seconds or 0):.1f} ms"
    elif done.directory is not None:
        where, how = str(done.directory), "written" if done.created else "updated in place"
    else:
        return []
    checked = "verified as far as possible" if done.unread else "verified"
    rescue = done.rescue
    saved = [] if rescue is None else [f"{where}: previous weights saved at the tag {rescue.tag}"]
    return [
        *saved,
        f"{where}: tree {short(done.built.tree)}, {size(done.written_bytes)} {how} and {checked}, "
        f"{seconds:.1f} s",
        *([f"{where}: {unread(done.unread)}"] if done.unread else []),
    ]


def _dtypes(done: CheckedOut) -> list[str]:
    found = done.dtypes
    if found is None:
        return []
    written, other = " and ".join(found.written), " and ".join(found.other)
    if found.rule == "committed":
        text = f"{written}, as it was committed; the base's is {other} (`--dtype base` rounds)"
    elif found.rule == "computed":
        text = f"{written}, the base's, as all that is computed; {other} went into it"
    else:
        kept = "" if found.kept is None else f", which keeps {100 * found.kept:.3g} % of the change"
        text = f"{written}, rounded from {other}{kept}"
        if found.kept is not None and found.kept < LOSS:
            text += "; a larger scale makes up for some of it"
    return [f"dtype: {text}"]


def _head(done: CheckedOut, branch: str | None) -> list[str]:
    lines = []
    if done.head_moved:
        where = f"on {branch}" if branch else "detached; `pvc switch -c NAME` creates a branch"
        lines.append(f"HEAD is at {done.revision.state.commit[:10]} ({where})")
        lines.append(str(done.revision.state.personality))
    if done.directory is None and done.engine is None:
        lines.append("no weights were written: no target; use --to DIR or --live")
    return lines
