"""`pvc commit`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pvc.cli.output import Output, answers, current, norm, share, short
from pvc.cli.progress import crew, threads_option
from pvc.cli.shared.engine import live_option, named
from pvc.cli.shared.repository import REVISION, opened, path
from pvc.wording import number, size

if TYPE_CHECKING:
    from pvc.repo.commands.commit import Committed

FAR = 0.5


@click.command(
    "commit",
    epilog="Exit status: 0 done, 1 nothing changed, 2 which engine is not clear, 13 the engine "
    "refuses, is torn or gone, 14 the name cannot be had, 15 it was not trained from the base, 16 "
    "NaN or Inf, 17 edits are in the way, 19 what it started from is in doubt.",
)
@click.argument("name", required=False)
@click.option(
    "--from", "source", type=click.Path(path_type=Path), metavar="DIR",
    help="The checkpoint that training left.",
)  # fmt: skip
@live_option("Commit what a running engine holds; without ENGINE, the only one there is.")
@click.option("--onto", type=REVISION, metavar="REV", help="What it was trained from.")
@click.option("--aside", is_flag=True, help="Store it without making it part of the personality.")
@click.option("-m", "--message", help="What it is.")
@click.option("--allow-nonfinite", is_flag=True, help="Accept NaN and Inf.")
@threads_option
@answers
def command(
    name: str | None,
    source: Path | None,
    engine: str | None,
    message: str | None,
    threads: int | None,
    **how: Any,
) -> None:
    """Commit a training result as a named vector, or edits made by hand.

    \b
    pvc commit listening --from out/listening -m "20 examples, lr 1e-5"
    pvc commit suggesting --from out/suggesting --aside
    pvc commit polite --from served             a target that was trained in place
    pvc commit polite --live                    what the engine holds, bit for bit
    pvc commit -m "reorder the terms"           edits of personality.toml
    """
    if name is None:
        if source is not None or engine is not None or message is None:
            raise click.UsageError(
                "NAME and --from or --live commit a vector; -m alone commits edits."
            )
        _edits(message)
        return
    if (source is None) == (engine is None):
        raise click.UsageError("--from says which checkpoint to commit, or --live which engine.")
    from pvc.api import commit_source
    from pvc.repo.commands.commit import Wish, commit

    output, began = current(), time.monotonic()
    directory = None if source is None else path(source)
    with (
        opened() as repository,
        crew(output, threads) as workers,
        commit_source(directory, named(engine)) as found,
    ):
        done = commit(repository, Wish(name, message=message, **how), found, workers)
    seconds = time.monotonic() - began
    output.answer(_document(done, seconds), _lines(done, seconds))
    _warnings(output, done)


def _edits(message: str) -> None:
    from pvc.cli.shared.edited import answer
    from pvc.repo.commands.commit_edits import commit_edits

    with opened() as repository:
        answer(commit_edits(repository, message))


def _document(done: Committed, seconds: float) -> dict[str, Any]:
    from pvc.cli.shared.vector import document

    return {
        "vector": document(done.name, done.vector),
        "action": done.action,
        "origin": done.origin_text,
        "distances": None
        if done.distances is None
        else {"base": done.distances.base, "head": done.distances.head},
        "personality": str(done.personality),
        "applied": done.applied,
        "commit": done.commit,
        "left_out": [{"path": one.path, "reason": one.reason} for one in done.left_out],
        "rounded_share": done.rounded_share,
        "seconds": round(seconds, 3),
        "engine": None if done.engine is None else {"name": done.engine, "clean": done.clean},
    }


def _lines(done: Committed, seconds: float) -> list[str]:
    vector, counted = done.vector, done.vector.statistics
    amount = counted.amount
    changed = share(amount.changed_elements, amount.elements)
    lines = [
        f"{done.name}: {done.action}, {short(vector.from_tree)} ({done.origin_text}) -> "
        f"{short(vector.to_tree)}",
        f"  changed   {number(amount.changed_elements)} of {number(amount.elements)} elements "
        f"({changed}), {number(counted.changed_blocks)} of {number(counted.blocks)} blocks",
        f"  norm      {norm(amount.relative_norm)} of what it started from",
        f"  stored    {size(counted.stored_bytes)} of {size(counted.total_bytes)} "
        f"({share(counted.stored_bytes, counted.total_bytes)}), {seconds:.1f} s",
    ]
    if done.distances is not None:
        text = done.origin_text
        other, start = ("HEAD", "the base") if text == "base" else (text, text)
        lines.append(
            f"  distance  {norm(done.distances.base)} from the base, "
            f"{norm(done.distances.head)} from {other}: it starts at {start}"
        )
    kept = "" if done.applied else f" ({done.name} is kept aside)"
    return [*lines, f"[{done.commit[:10]}] {done.personality}{kept}"]


def _warnings(output: Output, done: Committed) -> None:
    if done.rounded_share is not None:
        output.warn(
            f"only {100 * done.rounded_share:.2g} % of the elements of the 16-bit tensors that "
            "changed did change: rounding has probably swallowed most of the update; commit the "
            "fp32 master if the trainer has one"
        )
    if done.vector.statistics.amount.relative_norm > FAR:
        output.warn("the change is as large as the weights: is this a fine-tune of this base?")
    for one in done.left_out:
        output.note(f"left out: {one.path} ({one.reason})")
    if not done.clean:
        output.warn(
            f"the engine {done.engine} does not know of it: its weights changed meanwhile, it has "
            "ended, or it is another repository's"
        )
