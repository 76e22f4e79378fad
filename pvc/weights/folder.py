"""What lies in a model's folder, and which of it belongs to the checkpoint.

Weights are safetensors files directly in the folder.  If several sets of them could be meant, the
order is: what model.safetensors.index.json names, model.safetensors, what the only other index names,
all of them.  Every other file belongs to the checkpoint too, in subfolders as well, except

    hidden       the name begins with a dot
    checkpoint   a folder checkpoint-*, an earlier state kept by a trainer
    runs         a folder runs, a trainer's log
    nested       safetensors files in a subfolder
    unused       safetensors files beside those that hold the weights
    pickle       files that run code when they are loaded
    link         a link to a folder
    special      neither file nor folder

Links to files are followed: caches of the Hugging Face hub consist of them.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pvc.weights.errors import CheckpointError, UnreadableError
from pvc.weights.fingerprint import Stamp
from pvc.weights.header import UNPRINTABLE

if TYPE_CHECKING:
    from pathlib import Path

MODEL = "model.safetensors"
MODEL_INDEX = "model.safetensors.index.json"

_WEIGHTS = ".safetensors"
_INDEX = ".safetensors.index.json"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_PICKLED_WEIGHTS = (".pt", ".pth", ".ckpt")


class NoFolderError(CheckpointError):
    """The path of a checkpoint is not a directory.

    Attributes:
        path: the path.
        exists: whether something else is there.
    """

    def __init__(self, path: Path, exists: bool) -> None:
        self.path = path
        self.exists = exists
        found = "it is not a directory" if exists else "it does not exist"
        super().__init__(f"{path} is not a checkpoint: {found}.")


class NoWeightsError(CheckpointError):
    """A directory holds no weights.

    Attributes:
        path: the directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"{path} is not a checkpoint: it holds no safetensors file.")


class PickleError(CheckpointError):
    """A directory holds weights only as pickles.

    Attributes:
        path: the directory.
        files: the pickles, relative to it.
    """

    def __init__(self, path: Path, files: tuple[str, ...]) -> None:
        self.path = path
        self.files = files
        super().__init__(
            f"{path} holds its weights only as pickles ({', '.join(files[:3])}), which run code when "
            "they are loaded; save the model with save_pretrained, which writes safetensors files."
        )


class AmbiguousWeightsError(CheckpointError):
    """A directory holds several sets of weights, and nothing says which one is meant.

    Attributes:
        path: the directory.
        files: the files that contradict each other, relative to it.
    """

    def __init__(self, path: Path, files: tuple[str, ...]) -> None:
        self.path = path
        self.files = files
        super().__init__(
            f"{path} holds several sets of weights ({', '.join(files)}) of which programs load "
            "different ones; remove those that are not meant."
        )


class FileNameError(CheckpointError):
    """A file name is not UTF-8, or holds control characters.

    Attributes:
        path: the directory of the checkpoint.
        name: the name, relative to it.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name
        super().__init__(f"{path} holds {name!r}, whose name is not UTF-8 or has control characters.")


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something in the folder that is not part of the checkpoint.

    Attributes:
        path: relative to the folder, in POSIX form; for a folder, all that is in it.
        reason: one word, see this module's list.
    """

    path: str
    reason: str


@dataclass(slots=True)
class Folder:
    """What was found in a model's folder, sorted by path.

    Attributes:
        directory: the folder.
        weights: safetensors files directly in it.
        files: the other files that belong to the checkpoint.
        left_out: what does not belong to it.
        stamps: path -> stamp, for weights and files, from before any of them was read.
    """

    directory: Path
    weights: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    stamps: dict[str, Stamp] = field(default_factory=dict)

    @classmethod
    def scan(cls, directory: Path) -> Folder:
        """Look at everything in `directory`, and read none of it.

        Raises:
            NoFolderError: it is not a directory.
            UnreadableError: a folder or a link in it leads nowhere.
            FileNameError: a name cannot be stored.
        """
        if not directory.is_dir():
            raise NoFolderError(directory, directory.exists())
        folder = cls(directory)
        folder._enter("")
        folder.weights.sort()
        folder.files.sort()
        folder.left_out.sort(key=lambda item: item.path)
        return folder

    def index(self) -> str | None:
        """The index that says which files hold the weights, None if there is none to follow.

        Raises:
            AmbiguousWeightsError: several indexes, none of which takes precedence.
        """
        indexes = [file for file in self.files if file.endswith(_INDEX) and "/" not in file]
        if MODEL_INDEX in indexes:
            return MODEL_INDEX
        if MODEL in self.weights or not indexes:
            return None
        if len(indexes) > 1:
            raise AmbiguousWeightsError(self.directory, tuple(indexes))
        return indexes[0]

    def choose(self, shards: set[str] | None) -> None:
        """Keep as weights only those that are meant; the others are left out as unused.

        Args:
            shards: the files that the index names, None without an index.

        Raises:
            AmbiguousWeightsError: model.safetensors lies beside the shards of its own index.
            PickleError: the only weights are pickles.
            NoWeightsError: there are no weights.
        """
        if shards is None:
            shards = {MODEL} if MODEL in self.weights else set(self.weights)
        elif MODEL in self.weights and MODEL not in shards:
            # transformers loads model.safetensors, vLLM what the index names.
            raise AmbiguousWeightsError(self.directory, (MODEL, MODEL_INDEX))
        if not shards:
            self._explain_absence()
        unused = [file for file in self.weights if file not in shards]
        for file in unused:
            del self.stamps[file]
        self.weights = [file for file in self.weights if file in shards]
        self.left_out += [LeftOut(file, "unused") for file in unused]
        self.left_out.sort(key=lambda item: item.path)

    def _explain_absence(self) -> None:
        pickles = tuple(
            item.path
            for item in self.left_out
            if item.reason == "pickle"
            and "/" not in item.path
            and (item.path.startswith("pytorch_model") or item.path.endswith(_PICKLED_WEIGHTS))
        )
        if pickles:
            raise PickleError(self.directory, pickles)
        raise NoWeightsError(self.directory)

    def _enter(self, inside: str) -> None:
        here = self.directory / inside
        try:
            with os.scandir(here) as entries:
                found = list(entries)
        except OSError as error:
            raise UnreadableError(here, str(error.strerror)) from error
        for entry in found:
            self._sort_in(inside + entry.name, entry)

    def _sort_in(self, path: str, entry: os.DirEntry[str]) -> None:
        """Put one entry where it belongs; folders are entered."""
        reason = _reason_by_name(path, entry)
        if reason:
            self.left_out.append(LeftOut(path, reason))
            return
        if UNPRINTABLE.search(path):
            raise FileNameError(self.directory, path)
        if entry.is_dir(follow_symlinks=False):
            self._enter(path + "/")
            return
        try:
            status = entry.stat()
        except OSError as error:
            raise UnreadableError(self.directory / path, str(error.strerror)) from error
        if not stat.S_ISREG(status.st_mode):
            reason = "link" if stat.S_ISDIR(status.st_mode) else "special"
            self.left_out.append(LeftOut(path, reason))
            return
        self.stamps[path] = Stamp.of(status)
        (self.weights if path.endswith(_WEIGHTS) else self.files).append(path)


def _reason_by_name(path: str, entry: os.DirEntry[str]) -> str:
    """Why an entry is not part of the checkpoint, as far as its name tells; else nothing."""
    if entry.name.startswith("."):
        return "hidden"
    if entry.is_dir():
        if entry.name.startswith("checkpoint-"):
            return "checkpoint"
        return "runs" if entry.name == "runs" else ""
    if entry.name.lower().endswith(_PICKLES):
        return "pickle"
    return "nested" if entry.name.endswith(_WEIGHTS) and "/" in path else ""
