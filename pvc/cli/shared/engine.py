"""The engine that a command works on."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Literal

import click

from pvc.cli.output import SHORT_ID
from pvc.wording import number, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    from pvc.live import Connection
    from pvc.live.commands.status import EngineStatus

    F = TypeVar("F", bound=Callable[..., Any])

ONLY = ""
"""Stands for the only engine that runs."""


class EngineName(click.ParamType[str]):
    """The name of an engine, which the shell completes."""

    name = "engine"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        """Names of announced engines that begin with what was typed."""
        from click.shell_completion import CompletionItem

        from pvc.errors import PvcError
        from pvc.live.announced.folder import EngineFolder

        with contextlib.suppress(PvcError, OSError):
            names = EngineFolder().names()
            return [CompletionItem(name) for name in names if name.startswith(incomplete)]
        return []


ENGINE = EngineName()


def live_option(text: str) -> Callable[[F], F]:
    """Add --live [ENGINE]: None without it, ONLY where no engine is named."""
    return click.option(
        "--live", "engine", is_flag=False, flag_value=ONLY, type=ENGINE, metavar="[ENGINE]",
        help=text,
    )  # fmt: skip


def named(engine: str | None) -> str | Literal[True] | None:
    """The engine that an option names, as `pvc.api` takes it: True for the only one."""
    return True if engine == ONLY else engine


@contextlib.contextmanager
def connected(name: str | None) -> Iterator[Connection]:
    """A connection to an engine; None and ONLY stand for the only one that runs."""
    from pvc import live

    with live.connect(name or None) as connection:
        yield connection


def unread(count: int) -> str:
    """What is to be said of tensors that an engine keeps in another form."""
    subject = "1 tensor is" if count == 1 else f"{number(count)} tensors are"
    return f"{subject} kept in another form and cannot be read, only what was last applied is known"


def in_words(found: EngineStatus) -> str:
    """An engine's status in half a line."""
    held = f"{found.revision}, {(found.tree or b'').hex()[:SHORT_ID]}"
    other = "" if found.is_head else ", not HEAD's tree"
    names = f" ({shown(found.touched)})" if found.touched else ""
    return {
        "clean": f"({held}){other}; clean, as far as it knows",
        "drifted": f"({held}){other}; written to since{names}: `pvc live verify {found.name}` "
        "says where",
        "busy": f"is busy: {found.detail}",
        "torn": f"TORN, and paused until a checkout repairs it: {found.detail}",
        "restarted": f"restarted since it held {held}: it holds what it loaded",
        "gone": f"({held}) is gone; `pvc forget --live {found.name}` drops it from this list",
        "foreign": f"holds {held} of the repository {found.detail}",
        "new": "runs; nothing was checked out into it yet",
        "unreachable": f"cannot be used: {found.detail}",
    }[found.condition]
