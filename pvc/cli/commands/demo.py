"""`pvc demo`: pvc on a small model, with real commands and their real output."""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pvc.cli.output import colours, terminal
from pvc.cli.progress import Reporter
from pvc.cli.shared.repository import path

if TYPE_CHECKING:
    from pvc.demo import LabModels
    from pvc.demo.story import Style

DEFAULT = "pvc-demo"
AUTHOR = {  # git may not know yet who commits
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "pvc demo"), ("EMAIL", "demo@localhost"))
}
ENGINE = "demo"


@click.command("demo", epilog="Exit status: 0 success, 2 DIR is not empty.")
@click.argument("directory", type=click.Path(path_type=Path), required=False, metavar="[DIR]")
def command(directory: Path | None) -> None:
    """Train a small model and demonstrate pvc on it.

    The model is trained once, in about a minute, and kept in your cache directory. The repository
    stays in DIR (default: pvc-demo) for your own experiments.

    \b
    pvc demo
    """
    from pvc.demo.story import Player

    began = time.monotonic()
    root = _empty(directory)
    models = _models()
    root.mkdir(parents=True, exist_ok=True)
    shutil.copytree(models.base, root / "base")
    for name, source in models.fine_tunes.items():
        shutil.copytree(source, root / "out" / name)
    _say(f"$ cd {shlex.quote(str(root))}", "output")
    with contextlib.ExitStack() as running:
        Player(root, running, _free_name(), _say, functools.partial(_run, root)).play()
    seconds = time.monotonic() - began
    _say(f"\n# The repository stays in {root}. ({seconds:.0f} s)", "remark")


def _empty(directory: Path | None) -> Path:
    """The directory, or the first free name like the default."""
    if directory is not None:
        root = path(directory)
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise click.UsageError(f"{root} exists and is not empty; give another directory.")
        return root
    names = (DEFAULT, *(f"{DEFAULT}-{count}" for count in range(2, 10_000)))
    return next(root for name in names if not (root := path(Path(name))).exists())


def _free_name() -> str:
    """A free name for an engine."""
    from pvc.live import engines

    taken = {one.name for one in engines()}
    names = (ENGINE, *(f"{ENGINE}-{count}" for count in range(2, 10_000)))
    return next(name for name in names if name not in taken)


def _models() -> LabModels:
    """The models of the demo, trained now unless they are cached."""
    from pvc.demo import prepare

    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    with Reporter(terminal=terminal(sys.stderr), unit="steps") as reporter:
        seen: dict[str, int] = {}

        def progress(label: str, done: int, total: int) -> None:
            if label not in seen:
                reporter.start(f"Training {label}", total)
            reporter.advance(done - seen.get(label, 0))
            seen[label] = done

        return prepare(Path(home) / "pvc" / "lab", progress=progress)


def _say(text: str, style: Style) -> None:
    if style != "output":
        text = click.style(text, dim=style == "remark", bold=style == "typed")
    click.echo(text, color=colours(sys.stdout))


def _run(root: Path, arguments: list[str]) -> None:
    sys.stdout.flush()
    command = [sys.executable, "-m", "pvc", *arguments]
    environment = {**AUTHOR, **os.environ}
    done = subprocess.run(command, cwd=root, env=environment, check=False)  # noqa: S603
    if done.returncode:
        raise click.exceptions.Exit(done.returncode)
