"""`pvc live hold`: a command runs while nobody else changes an engine."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

import click

from pvc.cli.output import current, short
from pvc.cli.shared.engine import ENGINE, connected
from pvc.cli.shared.repository import command_line, patience

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NOT_FOUND, NOT_EXECUTABLE, BY_SIGNAL = 127, 126, 128


@click.command(
    "hold",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="Exit status: the command's; 13 there is no such engine, or another process holds it, "
    "126 the command cannot be run, 127 there is none of its name.",
)
@click.argument("engine", type=ENGINE)
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND...")
def hold(engine: str, words: tuple[str, ...]) -> None:
    """Run a command while nobody else changes an engine's weights.

    The command itself may change them: with `pvc checkout` in a script, for instance. In its
    environment, PVC_TREE is the tree that the engine has, if pvc wrote it, and PVC_GENERATION how
    often pvc has written to it. `pvc --wait SECONDS live hold` waits for others.

    \b
    pvc live hold chat -- python evaluate.py
    pvc live hold chat -- sh -c 'pvc checkout main --live && python evaluate.py'
    """
    output = current()
    if words[0] == "--":  # click leaves it where an argument comes before
        words = words[1:]
    if not words:
        raise click.UsageError("Missing the command to run.")
    wait = patience()
    with connected(engine) as connection:
        before = connection.hold(command_line(words), wait.seconds, wait.told)
        tree = "" if before.origin is None else before.origin.tree.hex()
        added = {"PVC_TREE": tree, "PVC_GENERATION": str(before.generation)}
        code = _run(words, {**os.environ, **added})
        after = connection.state()
    if set(after.touched) - set(before.touched):
        output.warn(f"the process of {engine} itself wrote to its weights meanwhile")
    if after.origin != before.origin and after.origin is not None:
        output.note(f"{engine} has {after.origin.revision}, {short(after.origin.tree)} now")
    raise click.exceptions.Exit(code)


def _run(words: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command; its exit code as shells give it.

    An interrupt from the terminal reaches the command too, which decides when to end.
    """
    try:
        process = subprocess.Popen(words, env=environment)  # noqa: S603 - it is the user's
    except FileNotFoundError:
        click.echo(f"error: There is no command {words[0]}.", err=True)
        return NOT_FOUND
    except OSError as error:
        click.echo(f"error: {words[0]} cannot be run: {error.strerror}.", err=True)
        return NOT_EXECUTABLE
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: process.terminate()),
    }
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else BY_SIGNAL - code
