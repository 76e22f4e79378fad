"""`pvc commit`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pvc.cli.output import Output, answers, current, norm, share, short
from pvc.cli.progress import crew, threads_option
from pvc.cli.shared.engine import live_option, named
from pvc.cli.shared.left_out import tell
from pvc.cli.shared.repository import REVISION, opened, path
from pvc.wording import number, size

if TYPE_CHECKING:
    from pvc.repo.commands.commit import Committed
    from pvc.repo.commands.origin_evidence import OriginEvidence

FAR = 0.5


@click.command(
    "commit",
    epilog="Exit status: 0 success, 1 nothing changed, 2 several engines run and none was named,"
    " 13 the engine refuses, is torn or has ended, 14 the name is taken or not allowed, "
    "15 not trained from the base, 16 NaN or Inf, 17 uncommitted edits, 19 the origin is "
    "unclear (use --onto).",
)
@click.argument("name", required=False)
@click.option(
    "--from", "source", type=click.Path(path_type=Path), metavar="DIR",
    help="Directory of the trained checkpoint.",
)  # fmt: skip
@live_option("Commit the weights of a running engine. Default for ENGINE: the only one.")
@click.option("--onto", type=REVISION, metavar="REV", help="Revision that training started from.")
@click.option("--aside", is_flag=True, help="Store the vector without applying it.")
@click.option("-m", "--message", help="Commit message.")
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
    """Commit a training result as a named vector.

    With -m alone, commit edits of personality.toml and of behaviour files.

    \b
    pvc commit listening --from out/listening -m "20 examples, lr 1e-5"
    pvc commit suggesting --from out/suggesting --aside
    pvc commit polite --from served             a target, trained in place
    pvc commit polite --live                    the engine's weights, bit for bit
    pvc commit -m "reorder the terms"           edits of personality.toml
    """
    if name is None:
        if source is not None or engine is not None or message is None:
            raise click.UsageError(
                "Give NAME and --from or --live to commit a vector, or -m alone to commit edits."
            )
        _edits(message)
        return
    if (source is None) == (engine is None):
        raise click.UsageError("Give either --from DIR or --live.")
    from pvc.api import commit_source
    from pvc.repo.commands.commit import Wish, commit

    output, began = current(), time.monotonic()
    directory = None if source is None else path(source)
    with (
        opened() as repository,
        crew(output, threads) as workers,
        commit_source(repository, directory, named(engine)) as found,
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
        "origin_reason": done.told.value,
        "evidence": None if done.evidence is None else _counts(done.evidence),
        "head_is_result": done.is_result,
        "personality": str(done.personality),
        "applied": done.applied,
        "commit": done.commit,
        "left_out": [{"path": one.path, "reason": one.reason} for one in done.left_out],
        "notes": list(done.notes),
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
        f"  norm      {norm(amount.relative_norm)} relative to the origin",
        f"  stored    {size(counted.stored_bytes)} of {size(counted.total_bytes)} "
        f"({share(counted.stored_bytes, counted.total_bytes)}), {seconds:.1f} s",
    ]
    origin = _origin(done)
    if origin:
        lines.append(f"  origin    {origin}")
    if done.is_result is False:
        lines.append(
            f"  HEAD      is {done.personality} now: these are not the weights of "
            f"{done.engine or 'the checkpoint'}, which are {done.origin_text} + {done.name}"
        )
    aside = "" if done.applied else f" ({done.name} is not applied)"
    return [*lines, f"[{done.commit[:10]}] {done.personality}{aside}"]


def _origin(done: Committed) -> str:
    """What told the origin; empty where the user did, or there was no other candidate."""
    start = "the base" if done.origin_text == "base" else done.origin_text
    how = {
        "target": "which was checked out there",
        "trainer_state": "which the trainer's files name",
        "elements": "by its elements",
        "same": "of which HEAD comes to the same",
        "aside": "since nothing tells, and the vector stays aside",
        "pvc.toml": "since nothing tells, and pvc.toml says so",
    }.get(done.told.value)
    if how is None:
        return ""
    other = "HEAD" if done.origin_text == "base" else done.origin_text
    counts = "" if done.evidence is None else f"; {done.evidence.told(other)}"
    return f"{start}, {how}{counts}"


def _counts(evidence: OriginEvidence) -> dict[str, int]:
    counts = evidence.counts
    return {
        "differing": counts.differing,
        "like_base": counts.one,
        "like_head": counts.two,
        "whole_base": evidence.whole_base,
        "whole_head": evidence.whole_head,
    }


def _rounding(done: Committed, share: float) -> str:
    counted = done.vector.statistics
    whole, stored = counted.total_bytes, counted.stored_bytes
    times = f", {whole / stored:.0f} times as much" if stored and whole >= 2 * stored else ""
    return (
        f"{100 * share:.2g} % of the elements of the changed 16-bit tensors differ: updates that "
        "were too small for 16 bits were rounded away, and the behaviour may be weaker than the "
        f"trained one. A larger scale makes up for some of it (base + 2*{done.name}). fp32 master "
        f"weights, if the trainer has them, keep all of it: they take about {size(whole)}{times}, "
        "and `pvc checkout --dtype base` writes them in 16 bits"
    )


def _warnings(output: Output, done: Committed) -> None:
    if done.rounded_share is not None:
        output.warn(_rounding(done, done.rounded_share))
    if done.vector.statistics.amount.relative_norm > FAR:
        output.warn("the change is very large: is this a fine-tune of this base?")
    tell(output, done.left_out, done.notes)
    if not done.clean:
        output.warn(
            f"the engine {done.engine} did not record this commit: its weights changed meanwhile, "
            "it has ended, or it belongs to another repository"
        )
