"""The sides of a merge: pvc's own files merged, and conflicts between them.

Terms are merged by name, vectors as wholes; everything else is git's to merge.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.repo.commands.three_way import keyed, merge
from pvc.repo.personality import personality_file, vector_file
from pvc.repo.personality.personality_file import Personality
from pvc.repo.personality.vector import CapturedVector
from pvc.repo.snapshot import Snapshot, vector_name

if TYPE_CHECKING:
    from pvc.repo.commands.editing import Changes
    from pvc.repo.commands.three_way import Merged, Side


@dataclass(frozen=True, slots=True)
class Conflict:
    """Both sides changed the same thing in different ways.

    Attributes:
        sort: "term", "vector" or "file".
        name: name of the vector, or path of the file.
        ours: its value at HEAD, for people.
        theirs: its value at the other side.
    """

    sort: str
    name: str
    ours: str
    theirs: str

    def __str__(self) -> str:
        return f"the {self.sort} {self.name} ({self.ours} here, {self.theirs} there)"


@dataclass(frozen=True, slots=True)
class Sides:
    """Three states of the repository.

    Attributes:
        old: a best common ancestor.
        ours: HEAD.
        theirs: what is merged into it.
        name: what the user calls that.
    """

    old: Snapshot
    ours: Snapshot
    theirs: Snapshot
    name: str

    def terms(self, favour: Side | None = None) -> Merged[personality_file.Term]:
        """The terms, merged by name."""
        old, ours, theirs = (keyed(one.personality.terms) for one in self.all())
        return merge(old, ours, theirs, favour)

    def vectors(self, favour: Side | None = None) -> Merged[bytes]:
        """The files of vectors, merged as wholes."""
        old, ours, theirs = (_vectors(one) for one in self.all())
        return merge(old, ours, theirs, favour)

    def text(self, favour: Side) -> str:
        """`personality.toml`, with comments of HEAD's."""
        merged = Personality(tuple(self.terms(favour).values.values()))
        return personality_file.edit(self.ours.personality_text, merged)

    def all(self) -> tuple[Snapshot, Snapshot, Snapshot]:
        """The three states, the old one first."""
        return self.old, self.ours, self.theirs


def is_own(path: str) -> bool:
    """Whether pvc merges a file, and not git."""
    return path == personality_file.PATH or vector_name(path) is not None


def _vectors(state: Snapshot) -> dict[str, bytes]:
    paths = filter(vector_name, state.files(vector_file.DIRECTORY))
    return {path: data for path in paths if (data := state.read(path)) is not None}


def own_files(sides: Sides, favour: Side) -> Changes:
    """The files that pvc merges; None where one is not there in the end."""
    vectors = sides.vectors(favour).values
    known = set().union(*map(_vectors, sides.all()))
    files: Changes = {path: vectors.get(path) for path in sorted(known)}
    return {**files, personality_file.PATH: sides.text(favour).encode()}


def conflicts(sides: Sides, others: list[str]) -> tuple[Conflict, ...]:
    """What both sides changed in different ways; `others` are files that git could not merge."""
    found = [
        Conflict("term", name, _scale(our), _scale(their))
        for name, (_, our, their) in sides.terms().conflicts.items()
    ]
    for path, (_, our, their) in sides.vectors().conflicts.items():
        name = vector_name(path) or path
        found.append(Conflict("vector", name, _worded(our, path), _worded(their, path)))
    found += [Conflict("file", path, "edited", "edited") for path in others]
    return tuple(found)


def _scale(term: personality_file.Term | None) -> str:
    return "removed" if term is None else f"{term.scale:g}"


def _worded(data: bytes | None, path: str) -> str:
    if data is None:
        return "removed"
    vector = vector_file.parse(data.decode(errors="replace"), path)
    if isinstance(vector, CapturedVector):
        return f"to {vector.to_tree.hex()[:12]}"
    return str(vector.recipe)


def marked(ours: bytes, theirs: bytes, name: str) -> bytes:
    """Both texts, with git's markers around the lines that differ."""
    one, other = (text.decode(errors="replace").splitlines(True) for text in (ours, theirs))
    lines: list[str] = []
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, one, other, False).get_opcodes():
        if tag == "equal":
            lines += one[i1:i2]
        else:
            lines += ["<<<<<<< HEAD\n", *one[i1:i2], "=======\n", *other[j1:j2]]
            lines.append(f">>>>>>> {name}\n")
    return "".join(lines).encode()
