"""The repository of a command, and completion of its names."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pvc.cli.output import current, remember

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pvc.repo.repository import Patience, Repository

WAIT = "pvc.cli.wait"
"""Where the context keeps how many seconds to wait for the lock."""
CLOSE_NAMES = 2
COMMAND_LENGTH = 80


def directory() -> Path:
    """The directory of the command: -C, or the working directory."""
    found = click.get_current_context().find_object(Path) or Path()
    return Path(os.path.realpath(found))


def path(found: Path) -> Path:
    """A path from the command line, absolute; it is relative to the directory of the command."""
    return Path(os.path.realpath(directory() / found))


@contextlib.contextmanager
def opened(*, need_store: bool = True) -> Iterator[Repository]:
    """The repository around the directory; errors for unknown names get similar names.

    Args:
        need_store: refuse a clone that has no store.
    """
    from pvc.errors import PvcError
    from pvc.repo.repository import Repository

    with Repository.open(directory(), patience=patience(), need_store=need_store) as repository:
        try:
            yield repository
        except PvcError as error:
            from pvc.repo.git import UnknownRevisionError
            from pvc.repo.history.revision import UnknownOperandError

            if isinstance(error, UnknownRevisionError | UnknownOperandError):
                error.close = _close(repository, error.revision)
            raise
        finally:
            remember(repository.notices)


def patience() -> Patience:
    """How this command waits for the lock, and names itself to those that wait for it."""
    from pvc.repo.repository import LOCK_WAIT_SECONDS, Patience

    def told(why: str) -> None:
        current().note(f"waiting: {why}")

    given = click.get_current_context().meta.get(WAIT)
    seconds = LOCK_WAIT_SECONDS if given is None else given
    return Patience(seconds, command_line(["pvc", *sys.argv[1:]]), told)


def command_line(words: Sequence[str]) -> str:
    """A command on one line, cut short, for people who wait for it."""
    line = " ".join(shlex.join(words).split())
    line = "".join(char if char.isprintable() else "?" for char in line)
    return line if len(line) <= COMMAND_LENGTH else f"{line[: COMMAND_LENGTH - 3]}..."


def _close(repository: Repository, text: str) -> tuple[str, ...]:
    from difflib import get_close_matches

    if set(text) & set("~^@:"):
        return ()  # its name may be right, and the rest of it wrong
    names = [name for name in _names(repository) if name != text]
    return tuple(get_close_matches(text, names, n=CLOSE_NAMES))


def _names(repository: Repository) -> list[str]:
    refs = {*_branches(repository), *_tags(repository)}
    return ["HEAD", "base", *sorted({*refs, *_vectors(repository)})]


def _branches(repository: Repository) -> list[str]:
    return [name for name, _ in repository.git.branches()]


def _tags(repository: Repository) -> list[str]:
    return [name for name, _ in repository.git.tags()]


def _vectors(repository: Repository) -> list[str]:
    return list(repository.head().names)


class Name(click.ParamType[str]):
    """The type of an argument that names something in the repository; the shell completes it.

    Args:
        sort: the sort of name, for the help.
        names: lists all names of this sort.
    """

    def __init__(self, sort: str, names: Callable[[Repository], list[str]]) -> None:
        self.name = sort
        self._names = names

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        """Names that begin with the typed text; none outside of a repository."""
        from click.shell_completion import CompletionItem

        from pvc.errors import PvcError
        from pvc.repo.repository import Repository

        root = ctx.find_root().params.get("directory") or Path()
        try:
            with Repository.open(root, need_store=False) as repository:
                names = self._names(repository)
        except (PvcError, OSError):
            return []
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


REVISION = Name("rev", _names)
BRANCH = Name("branch", _branches)
TAG = Name("tag", _tags)
VECTOR = Name("vector", _vectors)
