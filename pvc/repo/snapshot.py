"""A snapshot: configuration, personality and vectors at one commit, or with edits upon it."""

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
    from collections.abc import Mapping

    from pvc.repo.git import Git
    from pvc.repo.personality.formula import Formula
    from pvc.repo.personality.vector import Vector

BEHAVIOURS = "behaviours"
FOLDERS = (vector_file.DIRECTORY, BEHAVIOURS)
VECTORS = f":(glob){vector_file.DIRECTORY}/*.json"
PATHS = (
    config.PATH,
    personality_file.PATH,
    VECTORS,
    f":(glob){BEHAVIOURS}/*.toml",
)
"""What git is asked about: pvc's own files, as pathspecs."""
PATTERNS = (
    f"/{config.PATH}",
    f"/{personality_file.PATH}",
    f"/{vector_file.DIRECTORY}/*.json",
    f"/{BEHAVIOURS}/*.toml",
)
"""The same files, as patterns of gitattributes."""


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
    """pvc's own files at a commit, some of them changed; they are read when first asked for.

    Attributes:
        git: the repository.
        commit: full id of the commit.
        changes: bytes by path that stand in place of the commit's; None where a file is removed.
    """

    git: Git
    commit: str
    changes: Mapping[str, bytes | None] = field(default_factory=dict, hash=False)
    _vectors: dict[str, Vector] = field(default_factory=dict, compare=False)

    def with_files(self, changes: Mapping[str, bytes | None]) -> Snapshot:
        """This commit with some files changed; vectors that stay are not parsed again.

        Args:
            changes: new bytes by path; None removes a file.
        """
        kept = {n: found for n, found in self._vectors.items() if vector_path(n) not in changes}
        return Snapshot(self.git, self.commit, {**self.changes, **changes}, kept)

    def with_vector(self, name: str, vector: Vector) -> Snapshot:
        """This commit with a vector of this name, new or replaced."""
        changes = {**self.changes, vector_path(name): vector_file.to_text(vector).encode()}
        return Snapshot(self.git, self.commit, changes, {**self._vectors, name: vector})

    def with_personality(self, new: Personality) -> Snapshot:
        """This commit with another personality; comments of terms that stay are kept."""
        if new == self.personality:
            return self
        text = personality_file.edit(self.personality_text, new)
        return self.with_files({personality_file.PATH: text.encode()})

    @property
    def where(self) -> str:
        """The commit, for messages."""
        return self.commit[:10]

    def read(self, path: str) -> bytes | None:
        """The bytes of a file, or None."""
        if path in self.changes:
            return self.changes[path]
        return self.git.read_bytes(self.commit, path)

    def files(self, directory: str) -> list[str]:
        """Paths of the files right below a directory, sorted."""
        found = dict.fromkeys(self.git.files(self.commit, directory), True)
        for path, data in self.changes.items():
            if path.rpartition("/")[0] == directory:
                found[path] = data is not None
        return sorted(path for path, there in found.items() if there)

    def _text(self, path: str) -> str | None:
        """The text of a file, or None; undecodable bytes become U+FFFD."""
        data = self.read(path)
        return None if data is None else data.decode(errors="replace")

    def _named(self, path: str) -> str:
        """A file, for messages."""
        return path if path in self.changes else f"{path} at {self.where}"

    @cached_property
    def config(self) -> Config:
        """`pvc.toml`.

        Raises:
            NotPvcError: the commit has none.
            ConfigError: it is malformed.
        """
        text = self._text(config.PATH)
        if text is None and config.PATH not in self.changes:
            raise NotPvcError(self.where)
        return Config.parse(text or "", self._named(config.PATH))

    @cached_property
    def personality_text(self) -> str:
        """`personality.toml`; a commit without it is the base alone."""
        text = self._text(personality_file.PATH)
        return personality_file.EMPTY if text is None else text

    @cached_property
    def personality(self) -> Personality:
        """The personality.

        Raises:
            PersonalityError: it is malformed.
        """
        return Personality.parse(self.personality_text, self._named(personality_file.PATH))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the vectors, sorted."""
        return tuple(sorted(filter(None, map(vector_name, self.files(vector_file.DIRECTORY)))))

    def mentioning(self, name: str) -> list[str]:
        """Vectors whose files have the name of another, sorted; the others are not read."""
        texts = (f'"{name}"', "\\u")  # people may write letters as JSON's escapes
        found = set(self.git.with_text(self.commit, texts, [VECTORS])) - self.changes.keys()
        for path, data in self.changes.items():
            if data is not None and any(text.encode() in data for text in texts):
                found.add(path)
        return sorted(filter(None, map(vector_name, found)))

    def vector(self, name: str) -> Vector:
        """The vector of a name.

        Raises:
            NoVectorError: there is none.
            VectorError: its file is malformed.
        """
        if name not in self._vectors:
            path = vector_path(name)
            text = self._text(path)
            if text is None:
                where = "the edited files" if self.changes else f"commit {self.where}"
                raise NoVectorError(name, where)
            self._vectors[name] = vector_file.parse(text, self._named(path))
        return self._vectors[name]

    @cached_property
    def formula(self) -> Formula:
        """What the personality comes to; see `resolve.formula`."""
        return formula(self.config, self.personality, self.vector)
