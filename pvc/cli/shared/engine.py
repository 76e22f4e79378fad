"""The engine of a command: --live, the connection, and its status as text."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Literal

import click

from pvc.cli.output import SHORT_ID
from pvc.wording import agreeing, counted, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    from pvc.live import Connection
    from pvc.live.commands.status import EngineStatus
    from pvc.repo.commands.checkout import Rescue
    from pvc.repo.repository import Repository

    F = TypeVar("F", bound=Callable[..., Any])

ONLY = ""
"""Value of --live without ENGINE: the engine that the repository knows."""


class EngineName(click.ParamType[str]):
    """The type of an argument that names an engine; the shell completes it."""

    name = "engine"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        """Names of announced engines that begin with the typed text."""
        from click.shell_completion import CompletionItem

        from pvc.errors import PvcError
        from pvc.live.announced.folder import EngineFolder

        with contextlib.suppress(PvcError, OSError):
            names = EngineFolder().names()
            return [CompletionItem(name) for name in names if name.startswith(incomplete)]
        return []


ENGINE = EngineName()


def live_option(text: str) -> Callable[[F], F]:
    """Add --live [ENGINE]: None without it, ONLY if it names no engine."""
    return click.option(
        "--live", "engine", is_flag=False, flag_value=ONLY, type=ENGINE, metavar="[ENGINE]",
        help=text,
    )  # fmt: skip


def named(engine: str | None) -> str | Literal[True] | None:
    """The engine that an option names, as `pvc.api` takes it: True for the only one."""
    return True if engine == ONLY else engine


@contextlib.contextmanager
def connected(name: str) -> Iterator[Connection]:
    """A connection to an engine."""
    from pvc import live

    with live.connect(name) as connection:
        yield connection


@contextlib.contextmanager
def chosen(repository: Repository, name: str | None) -> Iterator[Connection]:
    """A connection to an engine; None stands for the one that the repository knows."""
    from pvc.live.commands.choice import connect_known

    with connect_known(repository, name) as connection:
        yield connection


def rescue_fields(rescue: Rescue | None) -> dict[str, str] | None:
    """The JSON of weights that were kept before they were overwritten."""
    if rescue is None:
        return None
    return {"tag": rescue.tag, "vector": rescue.vector, "tree": rescue.tree.hex()}


def unread(count: int) -> str:
    """A note on tensors that the engine stores in a form of its own."""
    subject = f"{counted(count, 'tensor')} {agreeing(count, 'is', 'are')}"
    return f"{subject} stored in another form and cannot be read; the last update is assumed"


def condition(found: EngineStatus) -> str:
    """The status of an engine, to follow its name on a line."""
    content = f"{found.revision}, {(found.tree or b'').hex()[:SHORT_ID]}"
    other = "" if found.is_head else ", not HEAD's tree"
    names = f" ({shown(found.touched)})" if found.touched else ""
    return {
        "clean": f"({content}){other}; clean, according to the engine",
        "drifted": f"({content}){other}; written to since{names}, see `pvc live verify "
        f"{found.name}`",
        "busy": f"is busy: {found.detail}",
        "torn": f"TORN, paused until a checkout repairs it: {found.detail}",
        "restarted": f"restarted since the checkout of {content}; has the weights it loaded; "
        f"`pvc live restore {found.name}` brings it back",
        "gone": f"({content}) has ended; `pvc forget --live {found.name}` removes it here",
        "foreign": f"has {content} of the repository {found.detail}",
        "new": "running; nothing was checked out into it yet",
        "other": "runs another model",
        "unreachable": f"cannot be used: {found.detail}",
    }[found.condition]
