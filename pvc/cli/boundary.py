"""How a process ends: one sentence, perhaps a hint, and an exit code."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from pvc.cli import errors, exit_codes
from pvc.cli.hints import RUN_AGAIN, SYSTEM_HINTS
from pvc.cli.output import FAULTS, JSON_VERSION, WITHOUT_OUTPUT, colours

if TYPE_CHECKING:
    from types import FrameType

COMPLETION = "_PVC_COMPLETE"


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived."""


def run() -> NoReturn:
    """Run the command line and end the process."""
    try:
        signal.signal(signal.SIGTERM, _terminate)
        _prepare_streams()
        code = _command()
    except BaseException as error:  # noqa: BLE001 - the one place where everything ends
        code = end(error)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the work is done, and its exit code is known
    sys.exit(code)


def _command() -> int:
    """Do as click's `main`, which would turn interrupts and closed pipes into exit code 1."""
    from pvc.cli.main import group

    instruction = os.environ.get(COMPLETION)
    if instruction:
        from click.shell_completion import shell_complete

        return shell_complete(group, {}, "pvc", COMPLETION, instruction)
    with group.make_context("pvc", sys.argv[1:]) as context:
        try:
            group.invoke(context)
        finally:
            for fault in context.meta.get(FAULTS, ()):
                _show("warning: ", "yellow", str(fault), errors.hint_of(fault))
    if sys.stdout is not None:
        sys.stdout.flush()
    return 0


def _prepare_streams() -> None:
    """Open closed streams, lest a file of the store gets the number of stdout; allow any text."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if isinstance(sys.stdout, io.TextIOWrapper):  # file names may contain any bytes
        sys.stdout.reconfigure(errors="backslashreplace")


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


def end(error: BaseException) -> int:
    """Report how a command ended.  Returns the exit code."""
    if isinstance(error, click.exceptions.Exit):
        return _flushed(error.exit_code)
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else exit_codes.OTHER
    if isinstance(error, BrokenPipeError):
        _give_up_output()
        return exit_codes.CLOSED_PIPE
    if isinstance(error, OSError):
        _give_up_output()  # its disk may be full, and Python would write again at exit
    return _report(error)


def _report(error: BaseException) -> int:
    code, name, message, hint = _described(error)
    if "--json" in sys.argv:
        content = {"code": code, "name": name, "message": message, "hint": hint}
        content |= errors.fields_of(error)
        click.echo(json.dumps({"version": JSON_VERSION, "error": content}), err=True)
        return code
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(message, err=True)
        return code
    if isinstance(error, click.UsageError) and error.ctx is not None:
        click.echo(error.ctx.get_usage(), err=True)
    _show("error: ", "red", message, hint)
    return code


def _show(word: str, colour: str, message: str, hint: str | None) -> None:
    show = colours(sys.stderr)
    click.echo(click.style(word, fg=colour) + message, err=True, color=show)
    if hint:
        below = hint.replace("\n", "\n" + " " * len("hint: "))
        click.echo(click.style("hint: ", fg="cyan") + below, err=True, color=show)


def _flushed(code: int) -> int:
    """The exit code of a command that ended early, after its output is written."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        error.add_note(WITHOUT_OUTPUT)
        return end(error)
    return code


def _give_up_output() -> None:
    """Discard the rest of stdout."""
    with contextlib.suppress(
        AttributeError, io.UnsupportedOperation
    ):  # it is closed, or has no descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _described(error: BaseException) -> tuple[int, str, str, str | None]:
    """Exit code, name, message and hint."""
    from pvc.errors import PvcError

    name = type(error).__name__
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return _stopped(error)
    if isinstance(error, MemoryError):
        return exit_codes.OTHER, name, "Out of memory.", None
    if isinstance(error, click.ClickException):
        return exit_codes.USAGE, name, error.format_message(), _usage_hint(error)
    if isinstance(error, PvcError):
        return errors.code_of(error), name, str(error), errors.hint_of(error)
    if isinstance(error, OSError):
        where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        done = " ".join(getattr(error, "__notes__", ()))
        hint = SYSTEM_HINTS.get(error.errno or 0, "").replace(RUN_AGAIN, "." if done else RUN_AGAIN)
        text = " ".join(filter(None, (f"{where}{error.strerror or error}.", done)))
        return exit_codes.OTHER, name, text, hint or None
    return _bug(error)


def _stopped(error: BaseException) -> tuple[int, str, str, str | None]:
    """The outcome of a signal; notes on the error list changes that remain."""
    changed = " ".join(getattr(error, "__notes__", ())) or "nothing was changed."
    if isinstance(error, Terminated):
        return exit_codes.TERMINATED, "Terminated", f"Terminated; {changed}", None
    return exit_codes.INTERRUPTED, "Interrupted", f"Interrupted; {changed}", None


def _usage_hint(error: click.ClickException) -> str | None:
    context = getattr(error, "ctx", None)
    return f"See `{context.command_path} --help`." if context is not None else None


def _bug(error: BaseException) -> tuple[int, str, str, str | None]:
    if os.environ.get("PVC_DEBUG"):
        import traceback

        traceback.print_exception(error)
    text = f"This is a bug in pvc: {type(error).__name__}: {error}"
    hint = "Set PVC_DEBUG=1 to see where, and please report it."
    return exit_codes.BUG, type(error).__name__, text, hint
