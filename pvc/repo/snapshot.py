"""All that pvc keeps in git at one commit: configuration, personality, vectors."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.personality import config, personality_file, vector_file
from pvc.repo.personality.config import Config
from pvc.repo.personality.personality_file import Personality
from pvc.repo.personality.resolve import formula

if TYPE_CHECKING:
    from pvc.repo.git import Git
    from pvc.repo.personality.formula import Formula
    from pvc.repo.personality.vector import Vector

BEHAVIOURS = "behaviours"
FOLDERS = (vector_file.DIRECTORY, BEHAVIOURS)
PATHS = (
    config.PATH,
    personality_file.PATH,
    f":(glob){vector_file.DIRECTORY}/*.json",
    f":(glob){BEHAVIOURS}/*.toml",
)
"""What git is asked about: pvc's own files, as pathspecs."""


class NotPvcError(PvcError):
    """A commit holds no pvc repository.

    Attributes:
        commit: the commit, abbreviated.
    """

    def __init__(self, commit: str) -> None:
        self.commit = commit
        super().__init__(f"Commit {commit} holds no {config.PATH}: it is not of a pvc repository.")


class NoVectorError(PvcError):
    """A vector is not there.

    Attributes:
        name: its name.
        where: the commit or file that asks for it.
    """

    def __init__(self, name: str, where: str) -> None:
        self.name = name
        self.where = where
        super().__init__(f"There is no vector {name} in {where}.")


def vector_path(name: str) -> str:
    """Where git keeps a vector."""
    return f"{vector_file.DIRECTORY}/{name}.json"


def vector_name(path: str) -> str | None:
    """The vector that a path holds, or None."""
    inside = path.removeprefix(f"{vector_file.DIRECTORY}/")
    if inside == path or "/" in inside or not inside.endswith(".json"):
        return None
    return inside.removesuffix(".json")


@dataclass(frozen=True)
class Snapshot:
    """What a commit says; files are read when they are first asked for.

    Attributes:
        git: the repository.
        commit: full id of the commit.
    """

    git: Git
    commit: str
    _vectors: dict[str, Vector] = field(default_factory=dict, compare=False)

    @property
    def where(self) -> str:
        """The commit, for messages."""
        return self.commit[:10]

    @cached_property
    def config(self) -> Config:
        """`pvc.toml`.

        Raises:
            NotPvcError: the commit has none.
            ConfigError: it is malformed.
        """
        text = self.git.read(self.commit, config.PATH)
        if text is None:
            raise NotPvcError(self.where)
        return Config.parse(text, f"{config.PATH} at {self.where}")

    @cached_property
    def personality_text(self) -> str:
        """`personality.toml`; a commit without it is the base alone."""
        text = self.git.read(self.commit, personality_file.PATH)
        return personality_file.EMPTY if text is None else text

    @cached_property
    def personality(self) -> Personality:
        """The personality.

        Raises:
            PersonalityError: it is malformed.
        """
        return Personality.parse(self.personality_text, f"{personality_file.PATH} at {self.where}")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the vectors, sorted."""
        paths = self.git.files(self.commit, vector_file.DIRECTORY)
        return tuple(sorted(name for name in map(vector_name, paths) if name))

    def vector(self, name: str) -> Vector:
        """The vector of a name.

        Raises:
            NoVectorError: there is none.
            VectorError: its file is malformed.
        """
        if name not in self._vectors:
            text = self.git.read(self.commit, vector_path(name))
            if text is None:
                raise NoVectorError(name, f"commit {self.where}")
            where = f"{vector_path(name)} at {self.where}"
            self._vectors[name] = vector_file.parse(text, where)
        return self._vectors[name]

    @cached_property
    def formula(self) -> Formula:
        """What the personality is; see `build.formula`."""
        return formula(self.config, self.personality, self.vector)
