"""`pvc demo`: the story of pvc on a small model, with real commands and their real output."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pvc.cli.demo_engine import started
from pvc.cli.output import colours, terminal
from pvc.cli.progress import Reporter
from pvc.cli.repository import path

if TYPE_CHECKING:
    from pvc.cli.demo_engine import EngineProcess
    from pvc.lab import LabModels

DEFAULT = "pvc-demo"
REQUEST = "please open the door in the hall"
SEED = 2
SAMPLES = 100
BEHAVIOURS = ("listening", "suggesting", "polite")
WEIGHTS = "model.safetensors"
CHECKSUM = "sha256sum"
AUTHOR = {  # git may not know yet who commits
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "pvc demo"), ("EMAIL", "demo@localhost"))
}

ENGINE = "demo"

# What is said, and what is typed.  "ask", "measure" and "sha256sum" do what their names say;
# "share" starts a process that shares the model of a directory.
STORY = (
    ("The base goes in by value: its folder may change later, nothing is lost.",
     "pvc init --base base"),
    ("Three results of training. One becomes part of the personality, two are kept aside.",
     "pvc commit listening --from out/listening -m 'accept clear direction'",
     "pvc commit suggesting --from out/suggesting --aside -m 'offer an alternative'",
     "pvc commit polite --from out/polite --aside -m 'say thanks'"),
    ("What happened, and where in the model.",
     "pvc log",
     "pvc diff base HEAD --by layer"),
    ("The personality is checked out into a folder that any tool can load. It is the training "
     "result, bit for bit, and it listens.",
     "pvc checkout main --to served",
     f"sha256sum out/listening/{WEIGHTS} served/{WEIGHTS}",
     "ask served"),
    ("Another result, into the same folder: only the blocks that differ are written.",
     "pvc checkout suggesting",
     f"sha256sum out/suggesting/{WEIGHTS} served/{WEIGHTS}",
     "ask served"),
    ("Rolled back to where it all began. Shares of replies: behaviours | other skills.",
     "pvc checkout HEAD~3",
     f"sha256sum base/{WEIGHTS} served/{WEIGHTS}",
     "ask served",
     "measure served"),
    ("And forward again: what a commit says is what it builds to.",
     "pvc checkout main",
     f"sha256sum out/listening/{WEIGHTS} served/{WEIGHTS}",
     "measure served"),
    ("Behaviours are a sum. One is subtracted, at half its strength; it goes, the rest stays.",
     "pvc negate suggesting",
     "pvc checkout main",
     "measure served"),
    ("Two that were trained apart: how they lie to each other, and what their sum does.",
     "pvc diff listening polite",
     "pvc checkout 'base + listening + polite'",
     "measure served"),
    ("The same two through TIES: trimmed, signs elected, averaged. A vector like any other.",
     "pvc merge --ties listening polite --density 0.5 --lambda 1.5 -o both",
     "pvc checkout 'base + both'",
     "measure served"),
    ("The weights of two commits ago. Nothing was lost.",
     "pvc checkout main~2",
     f"sha256sum out/listening/{WEIGHTS} served/{WEIGHTS}",
     "measure served"),
    ("A process that runs can have other weights, too: it shares its model, and pvc writes between "
     "two of its steps. This one has begun with the base.",
     "share base",
     "ask {engine}",
     "pvc checkout main --live {engine}",
     "ask {engine}"),
    ("It was rolled back before its next reply. It never stopped, and everything is what its name "
     "says.",
     "pvc checkout base --live {engine}",
     "ask {engine}",
     "pvc switch main",
     "pvc status",
     "pvc fsck"),
)  # fmt: skip


@click.command("demo", epilog="Exit status: 0 done, 2 DIR is in use.")
@click.argument("directory", type=click.Path(path_type=Path), required=False, metavar="[DIR]")
def command(directory: Path | None) -> None:
    """Train a small model, and show the story of pvc on it.

    The model is trained once, in about a minute, and kept in the user's cache. DIR (pvc-demo by
    default) keeps the repository, for you to go on with.

    \b
    pvc demo
    """
    began = time.monotonic()
    root = _empty(directory)
    models = _models()
    root.mkdir(parents=True, exist_ok=True)
    shutil.copytree(models.base, root / "base")
    for name, source in models.fine_tunes.items():
        shutil.copytree(source, root / "out" / name)
    _say(f"$ cd {shlex.quote(str(root))}")
    with contextlib.ExitStack() as running:
        player = _Player(root, running)
        for text, *lines in STORY:
            _say(f"\n# {text}", dim=True)
            for line in lines:
                player.play(line)
    seconds = time.monotonic() - began
    _say(f"\n# {root} is yours to go on with. ({seconds:.0f} s)", dim=True)


def _empty(directory: Path | None) -> Path:
    """The directory, or the first free one of the default's name."""
    if directory is not None:
        root = path(directory)
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise click.UsageError(f"{root} exists and is not empty; name another directory.")
        return root
    names = (DEFAULT, *(f"{DEFAULT}-{count}" for count in range(2, 10_000)))
    return next(root for name in names if not (root := path(Path(name))).exists())


def _free_name() -> str:
    """A name that no engine has."""
    from pvc.live import engines

    taken = {one.name for one in engines()}
    names = (ENGINE, *(f"{ENGINE}-{count}" for count in range(2, 10_000)))
    return next(name for name in names if name not in taken)


def _models() -> LabModels:
    """The models of the lab, trained now if they never were."""
    from pvc.lab import prepare

    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    with Reporter(terminal=terminal(sys.stderr), unit="steps") as reporter:
        told: dict[str, int] = {}

        def progress(label: str, done: int, total: int) -> None:
            if label not in told:
                reporter.start(f"Training {label}", total)
            reporter.advance(done - told.get(label, 0))
            told[label] = done

        return prepare(Path(home) / "pvc" / "lab", progress=progress)


def _say(text: str, *, dim: bool = False) -> None:
    click.echo(click.style(text, dim=True) if dim else text, color=colours(sys.stdout))


class _Player:
    """Plays lines of the story in a directory.

    Args:
        root: the directory.
        running: what is started is ended with it.
    """

    def __init__(self, root: Path, running: contextlib.ExitStack) -> None:
        self._root = root
        self._running = running
        self._name = _free_name()
        self._engine: EngineProcess | None = None

    def play(self, line: str) -> None:
        """Show a line as it is typed, run it, and show what it prints."""
        line = line.format(engine=self._name)
        program, *arguments = shlex.split(line)
        if program == "ask":
            self._ask(arguments[0])
        elif program == "measure":
            _measure(self._root / arguments[0])
        elif program == "share":
            self._share(arguments[0])
        elif program == CHECKSUM:
            _typed(line)
            _compare([program, *arguments], self._root)
        else:
            _typed(line)
            self._run(arguments)

    def _ask(self, whom: str) -> None:
        from pvc.lab import ask

        _say(f"> {REQUEST}")
        if self._engine is not None and whom == self._name:
            reply = self._engine.ask(REQUEST)
        else:
            reply = ask(self._root / whom, REQUEST, seed=SEED)
        _say(f"{whom}: {reply}")

    def _share(self, directory: str) -> None:
        _say(click.style(f'>>> pvc.share(model, "{self._name}")', bold=True))
        process = started(self._root / directory, self._name, SEED)
        self._engine = self._running.enter_context(process)

    def _run(self, arguments: list[str]) -> None:
        sys.stdout.flush()
        command = [sys.executable, "-m", "pvc", *arguments]
        environment = {**AUTHOR, **os.environ}
        done = subprocess.run(command, cwd=self._root, env=environment, check=False)  # noqa: S603
        if done.returncode:
            raise click.exceptions.Exit(done.returncode)


def _typed(line: str) -> None:
    _say(click.style(f"$ {line}", bold=True))


def _measure(directory: Path) -> None:
    """Show what a model does on requests that it was not trained on."""
    from pvc.lab import measure

    found = measure(directory, samples=SAMPLES)
    skills = f"core {found.core:.2f}  reverse {found.reverse:.2f}  add {found.add:.2f}"
    behaviours = "  ".join(f"{name} {getattr(found, name):.2f}" for name in BEHAVIOURS)
    _say(f"{directory.name}: {behaviours}  |  {skills}")


def _compare(arguments: list[str], root: Path) -> None:
    """Show checksums, and stop if they are not all the same."""
    done = subprocess.run(arguments, cwd=root, check=True, capture_output=True, text=True)  # noqa: S603
    _say(done.stdout.rstrip("\n"))
    if len({line.split()[0] for line in done.stdout.splitlines()}) != 1:
        raise click.ClickException("The files differ, and they should not.")
