"""`pvc log`."""

from __future__ import annotations

import itertools
import shutil
import sys
from typing import TYPE_CHECKING, Any

import click

from pvc.cli.numbers import WholeNumber
from pvc.cli.output import answers, colours, current, terminal
from pvc.cli.shared.repository import REVISION, opened

if TYPE_CHECKING:
    from pvc.repo.commands.log import Event


@click.command(
    "log",
    epilog="Exit status: 0 success, 14 no such vector or revision.",
)
@click.argument("name", type=REVISION, required=False)
@click.option("-n", "--number", type=WholeNumber(1), metavar="N", help="Show at most N commits.")
@answers
def command(name: str | None, number: int | None) -> None:
    """Show commits, newest first.

    NAME is a vector, to show only its own commits, or a revision to start from.

    \b
    pvc log
    pvc log listening -n 3
    """
    from pvc.repo.commands.log import log

    output = current()
    with opened(need_store=False) as repository:
        events = log(repository, name, number)
        if output.as_json:
            output.answer({"commits": [event_document(event) for event in events]}, [])
            return
        lines = (line for event in events for line in event_lines(event))
        if terminal(sys.stdout):
            height = shutil.get_terminal_size().lines
            page = list(itertools.islice(lines, height))
            if len(page) == height:
                pages = (f"{line}\n" for line in itertools.chain(page, lines))
                click.echo_via_pager(pages, color=colours(sys.stdout))
                return
            output.answer({}, page)
        else:
            output.answer({}, lines)


def event_document(event: Event) -> dict[str, Any]:
    """The fields of a commit."""
    from pvc.cli.shared.vector import document

    entry = event.entry
    return {
        "commit": entry.commit,
        "date": entry.date,
        "author": entry.author,
        "refs": entry.refs,
        "subject": entry.subject,
        "personality": None if event.personality is None else str(event.personality),
        "vectors": [
            {
                "name": change.name,
                "action": change.action,
                "vector": None if change.vector is None else document(change.name, change.vector),
            }
            for change in event.vectors
        ],
    }


def event_lines(event: Event) -> list[str]:
    """The lines of a commit."""
    from pvc.cli.shared.vector import summary

    entry = event.entry
    refs = f" ({entry.refs})" if entry.refs else ""
    day = entry.date[:10]
    lines = [f"{click.style(entry.short, fg='yellow')}{refs} {day} {entry.subject}"]
    lines.append(f"    {event.personality or 'unreadable personality'}")
    for change in event.vectors:
        numbers = f": {summary(change.vector)}" if change.vector is not None else ""
        lines.append(f"    {change.action} {change.name}{numbers}")
    return lines
