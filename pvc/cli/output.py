"""Output of commands: the result on stdout, as text or one JSON document; the rest on stderr."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeVar

    F = TypeVar("F", bound=Callable[..., Any])

JSON_VERSION = 1
SHORT_ID = 12
FAULTS = "pvc.cli.faults"
WITHOUT_OUTPUT = "The command is done; only its output could not be written."


@dataclass(frozen=True, slots=True)
class Output:
    """The form of a command's output.

    Attributes:
        as_json: the result is one JSON document instead of text.
        quiet: no notes, warnings and progress; only what may not go unread, see `loss`.
    """

    as_json: bool = False
    quiet: bool = False

    def answer(self, document: dict[str, Any], lines: Iterable[str]) -> None:
        """Write the result, as JSON or as text."""
        text = json.dumps({"version": JSON_VERSION, **document}, ensure_ascii=False)
        try:
            for line in [text] if self.as_json else lines:
                click.echo(line, color=colours(sys.stdout))
        except OSError as error:
            error.add_note(WITHOUT_OUTPUT)
            raise

    def note(self, text: str) -> None:
        """Write a note to stderr."""
        if not self.quiet and not self.as_json:
            click.echo(text, err=True)

    def loss(self, text: str) -> None:
        """Write to stderr what may not go unread, quiet or not; a JSON document says it itself."""
        if not self.as_json:
            click.echo(text, err=True)

    def warn(self, text: str) -> None:
        """Write a warning to stderr."""
        self.note(click.style("warning: ", fg="yellow") + text)

    def shows_progress(self) -> bool:
        """Whether progress is shown."""
        return not (self.quiet or self.as_json)


def answers(command: F) -> F:
    """Add --json and --quiet to a command; `current` has their values."""

    def collect(context: click.Context, parameter: click.Parameter, value: bool) -> bool:
        output = context.meta.get(__name__, Output())
        changed = {"json": (value, output.quiet), "quiet": (output.as_json, value)}
        context.meta[__name__] = Output(*changed[str(parameter.name)])
        return value

    command = click.option(
        "--quiet", "-q", is_flag=True, expose_value=False, callback=collect, is_eager=True,
        help="Print only the result, and what is not kept.",
    )(command)  # fmt: skip
    return click.option(
        "--json", is_flag=True, expose_value=False, callback=collect, is_eager=True,
        help="Print the result as JSON.",
    )(command)  # fmt: skip


def current() -> Output:
    """The output of the running command."""
    found = click.get_current_context().meta.get(__name__, Output())
    return found if isinstance(found, Output) else Output()


def remember(faults: Sequence[Exception]) -> None:
    """Keep faults that did not stop the command; `boundary` tells the user at the end."""
    click.get_current_context().meta.setdefault(FAULTS, []).extend(faults)


def colours(stream: Any) -> bool:
    """Whether a stream gets colours: by NO_COLOR, by FORCE_COLOR, or because it is a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return terminal(stream)


def terminal(stream: Any) -> bool:
    """Whether a stream is a terminal that can redraw lines."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


def share(part: int, whole: int) -> str:
    """A share in percent."""
    if not whole or part in (0, whole):
        return "100 %" if part else "0 %"
    return f"{min(max(100 * part / whole, 0.001), 99.99):.3g} %"


def norm(value: float) -> str:
    """A relative norm, to three digits."""
    return f"{value:.3g}"


def short(identity: bytes) -> str:
    """An abbreviated id."""
    return identity.hex()[:SHORT_ID]


def columns(rows: Sequence[Sequence[str]], *, left: int = 1, indent: str = "") -> list[str]:
    """Lines with aligned columns: the first `left` columns to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if at < left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append((indent + "  ".join(cells)).rstrip())
    return lines
