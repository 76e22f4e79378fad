"""The story of `pvc demo`: its sentences and commands, and how they are run."""

from __future__ import annotations

import shlex
import subprocess
from typing import TYPE_CHECKING, Literal

from pvc.demo.engine_process import started
from pvc.demo.errors import DemoError
from pvc.demo.scores import ask, measure

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from pathlib import Path

    from pvc.demo.engine_process import EngineProcess

REQUEST = "please open the door in the hall"
SEED = 2
SAMPLES = 100
BEHAVIOURS = ("listening", "suggesting", "polite")
WEIGHTS = "model.safetensors"
CHECKSUM = "sha256sum"

Style = Literal["remark", "typed", "output"]
"""What a line of the story is: it decides how the terminal shows it."""


# A remark, and the lines that are typed after it.  "ask", "measure" and "sha256sum" do what their
# names say; "share" starts a process that shares the model of a directory.
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
    ("Two that were trained apart: how similar they are, and what their sum does.",
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


class Player:
    """Plays lines of the story in a directory.

    Args:
        root: the directory.
        running: ends what the story starts.
        name: the name of the engine that the story starts.
        say: shows a line.
        pvc: runs `pvc` with some arguments in the directory.
    """

    def __init__(
        self,
        root: Path,
        running: ExitStack,
        name: str,
        say: Callable[[str, Style], None],
        pvc: Callable[[list[str]], None],
    ) -> None:
        self._root = root
        self._running = running
        self._name = name
        self._say = say
        self._pvc = pvc
        self._engine: EngineProcess | None = None

    def play(self) -> None:
        """Play the whole story.

        Raises:
            DemoError: files differ that have to be equal, or the engine ended early.
        """
        for remark, *lines in STORY:
            self._say(f"\n# {remark}", "remark")
            for line in lines:
                self._line(line.format(engine=self._name))

    def _line(self, line: str) -> None:
        program, *arguments = shlex.split(line)
        if program == "ask":
            self._ask(arguments[0])
        elif program == "measure":
            self._measure(arguments[0])
        elif program == "share":
            self._share(arguments[0])
        else:
            self._say(f"$ {line}", "typed")
            if program == CHECKSUM:
                self._compare([program, *arguments])
            else:
                self._pvc(arguments)

    def _ask(self, model: str) -> None:
        self._say(f"> {REQUEST}", "output")
        if self._engine is not None and model == self._name:
            reply = self._engine.ask(REQUEST)
        else:
            reply = ask(self._root / model, REQUEST, seed=SEED)
        self._say(f"{model}: {reply}", "output")

    def _measure(self, model: str) -> None:
        found = measure(self._root / model, samples=SAMPLES)
        skills = f"core {found.core:.2f}  reverse {found.reverse:.2f}  add {found.add:.2f}"
        behaviours = "  ".join(f"{name} {getattr(found, name):.2f}" for name in BEHAVIOURS)
        self._say(f"{model}: {behaviours}  |  {skills}", "output")

    def _share(self, model: str) -> None:
        self._say(f'>>> pvc.share(model, "{self._name}")', "typed")
        self._engine = self._running.enter_context(started(self._root / model, self._name, SEED))

    def _compare(self, command: list[str]) -> None:
        done = subprocess.run(  # noqa: S603
            command, cwd=self._root, check=True, capture_output=True, text=True
        )
        self._say(done.stdout.rstrip("\n"), "output")
        if len({line.split()[0] for line in done.stdout.splitlines()}) != 1:
            raise DemoError("The files differ, and they should not.")
