"""`pvc live`: running engines."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from pvc.cli.commands.live_hold import hold
from pvc.cli.commands.live_restore import restore
from pvc.cli.exit_codes import NO
from pvc.cli.output import answers, columns, current, short
from pvc.cli.progress import crew, threads_option
from pvc.cli.shared.engine import ENGINE, chosen, unread
from pvc.cli.shared.repository import REVISION, opened
from pvc.wording import agreeing, counted, number, shown, size

if TYPE_CHECKING:
    from pvc.live.announced.registry import AnnouncedEngine
    from pvc.live.commands.verify import Verified

NAMES_SHOWN = 20


@click.group(
    "live", epilog="Exit status: 0 success, 1 weights differ, 13 an engine cannot be read."
)
def command() -> None:
    """List running engines; verify, hold or restore their weights.

    \b
    pvc live ls
    pvc live verify chat
    pvc live hold chat -- python evaluate.py
    pvc live restore chat
    """


command.add_command(hold)
command.add_command(restore)


@command.command("ls", epilog="Exit status: 0 success, 13 the folder of engines cannot be trusted.")
@answers
def ls() -> None:
    """List your running engines and the revisions of their weights.

    \b
    pvc live ls
    """
    from pvc.live.commands.status import ask_all

    found = ask_all()
    current().answer({"engines": [_engine(one) for one in found]}, _lines(found))


def _engine(one: AnnouncedEngine) -> dict[str, Any]:
    manifest, state = one.manifest, one.state
    origin = None if state is None else state.origin
    return {
        "name": one.name,
        "model": None if manifest is None else manifest.model,
        "pid": None if manifest is None else manifest.process.pid,
        "tensors": None if manifest is None else len(manifest.tensors),
        "repository": None if origin is None else origin.repository,
        "revision": None if origin is None else origin.revision,
        "tree": None if origin is None else origin.tree.hex(),
        "generation": None if state is None else state.generation,
        "dirty": None if state is None else state.dirty,
        "torn": None if state is None else state.pause,
        "held": None if state is None else state.held,
        "problem": one.problem,
    }


def _lines(found: tuple[AnnouncedEngine, ...]) -> list[str]:
    if not found:
        return ["no engine is running"]
    return columns([_row(one) for one in found], left=4)


def _row(one: AnnouncedEngine) -> tuple[str, str, str, str]:
    if one.manifest is None or one.state is None:
        return one.name, "", "", one.problem or ""
    state, origin = one.state, one.state.origin
    dirty = ", written to since" if state.dirty else ""
    content = "as it was loaded" if origin is None else f"{origin.revision} of {origin.repository}"
    trouble = state.pause if state.torn is None else f"TORN: {state.torn}"
    process = f"process {one.manifest.process.pid}"
    held = f", held by {state.held}" if state.held else ""
    return one.name, one.manifest.model, process, (trouble or f"{content}{dirty}") + held


@command.command(
    "verify",
    epilog="Exit status: 0 equal, 1 different, 2 several engines run and none was named, 13 the "
    "engine cannot be read, 14 no such revision.",
)
@click.argument("engine", type=ENGINE, required=False)
@click.argument("revision", type=REVISION, required=False, metavar="[REV]")
@threads_option
@answers
def verify(engine: str | None, revision: str | None, threads: int | None) -> None:
    """Compare an engine's weights with a revision, without pausing the engine.

    Default for REV: the revision last checked out into the engine or committed from it, or HEAD.

    \b
    pvc live verify
    pvc live verify chat main
    """
    from pvc.live.commands.verify import check

    output, began = current(), time.monotonic()
    with (
        opened() as repository,
        chosen(repository, engine) as connection,
        crew(output, threads) as workers,
    ):
        found = check(repository, connection, revision, workers)
    seconds = time.monotonic() - began
    document = {
        "engine": found.engine,
        "revision": found.revision,
        "tree": found.tree.hex(),
        "compared_bytes": found.nbytes,
        "drifted": list(found.drifted),
        "unread": list(found.unread),
        "unloaded": list(found.unloaded),
        "held": None
        if found.held is None
        else {"revision": found.held[0], "tree": found.held[1].hex()},
        "recorded": found.recorded,
        "seconds": round(seconds, 3),
    }
    output.answer(document, _verdict(found, seconds))
    if found.drifted:
        raise click.exceptions.Exit(NO)


def _verdict(found: Verified, seconds: float) -> list[str]:
    what = f"{found.revision}, tree {short(found.tree)}"
    how = f"{size(found.nbytes)} compared, {seconds:.1f} s"
    if found.unread:
        how += f"; {unread(len(found.unread))}"
    if found.unloaded:
        how += f"; the engine does not load {shown(found.unloaded)}"
    if not found.drifted:
        seen = ", as far as it can be read" if found.unread else ""
        return [f"engine {found.engine} matches {what}{seen}; {how}"]
    restore = f"; `pvc live restore {found.engine}` brings {found.recorded} back"
    again = restore if found.recorded else ""
    if found.held is not None:
        held = f"{found.held[0]}, tree {short(found.held[1])}"
        return [f"engine {found.engine} has {held}, not {what}{again}; {how}"]
    count = len(found.drifted)
    differ = f"{counted(count, 'tensor')} {agreeing(count, 'differs', 'differ')}"
    more = [f"  and {number(count - NAMES_SHOWN)} more"] if count > NAMES_SHOWN else []
    names = [f"  {name}" for name in found.drifted[:NAMES_SHOWN]]
    return [f"engine {found.engine} does not match {what}: {differ}; {how}", *names, *more]
