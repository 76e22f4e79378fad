"""The folder of a model: which of its files belong to the checkpoint.

The model's own weights are safetensors files.  If several sets of them could be meant, the first of
these is: what model.safetensors.index.json names; model.safetensors; what the only other index
names; all that lie directly in the folder.  Safetensors files in subfolders that no such index
names stand apart: they belong to the checkpoint, each with tensors of its own.  An adapter beside
the weights of a whole model is a file like any other.  So is every other file, but for

    hidden       the name begins with a dot
    checkpoint   a folder checkpoint-* or global_step*, an earlier state kept by a trainer
    runs         a folder runs, a trainer's log
    unused       safetensors files beside those that hold the weights
    pickle       weights as pickles beside the same as safetensors, and the state of a trainer
    link         a link to a folder
    special      neither file nor folder

Links to files are followed: caches of the Hugging Face hub consist of them.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from pvc.weights.errors import CheckpointError, UnreadableError
from pvc.weights.fingerprint import Stamp
from pvc.weights.whole import AdapterError, check_numbers
from pvc_store.layout import PathError, check_path

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL = "model.safetensors"
MODEL_INDEX = "model.safetensors.index.json"

_WEIGHTS = ".safetensors"
_INDEX = ".safetensors.index.json"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_PICKLED_WEIGHTS = re.compile(r"pytorch_model[^/]*\.bin|[^/]*\.(pt|pth|ckpt)")
_SAME_WEIGHTS = re.compile(
    r"((diffusion_)?pytorch_model|model|adapter_model)[^/]*\.(bin|pt|pth)|[^/]*\.ckpt"
)
_TRAINER_STATE = re.compile(
    r"(optimizer|scheduler|rng_state|random_states?|scaler|training_args|consolidated"
    r"|[^/]*mp_rank_\d|[^/]*zero_pp_rank)[^/]*"
)
_EARLIER = ("checkpoint-", "global_step")
_ADAPTER = re.compile(r"adapter_model[^/]*\.safetensors")
_EXPENDABLE = frozenset({"hidden", "runs"})


class NoWeightsError(CheckpointError):
    """A path is not a directory that holds weights."""

    def __init__(self, path: Path, found: str) -> None:
        super().__init__(path, f"{path} is not a checkpoint: {found}.")


class PickleError(CheckpointError):
    """A directory holds weights only as pickles.

    Attributes:
        files: the pickles, relative to it.
    """

    def __init__(self, path: Path, files: tuple[str, ...]) -> None:
        self.files = files
        super().__init__(
            path,
            f"{path} holds its weights only as pickles ({', '.join(files[:3])}), which run code "
            "when loaded; save the model with save_pretrained, which writes safetensors files.",
        )


class FileNameError(CheckpointError):
    """The name of a file in the directory `path` is not UTF-8 or not plain enough to be stored."""

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(
            path,
            f"{path} holds {name!r}, a name that cannot be stored: printable UTF-8 without "
            "backslashes is expected.",
        )


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something in the folder that is not part of the checkpoint.

    Attributes:
        path: relative to the folder, in POSIX form; for a folder, all that is in it.
        reason: one word, see this module's list.
    """

    path: str
    reason: str

    @property
    def matters(self) -> bool:
        """Whether it may hold what somebody wants to keep."""
        return self.reason not in _EXPENDABLE


@dataclass(frozen=True, slots=True)
class CheckpointFolder:
    """What was found in a model's folder.

    Attributes:
        directory: the folder.
        stamps: the files that belong to the checkpoint, weights among them, sorted; path -> stamp
            from before any of them was read.
        left_out: what does not belong to it, sorted.
        shards: the files that hold the model's own weights, sorted; empty until they are known.
    """

    directory: Path
    stamps: dict[str, Stamp]
    left_out: tuple[LeftOut, ...]
    shards: tuple[str, ...] = ()

    @classmethod
    def scan(cls, directory: Path) -> CheckpointFolder:
        """Look at everything in `directory`, and read none of it.

        Raises:
            NoWeightsError: it is not a directory.
            UnreadableError: a folder in it cannot be listed, or a link leads nowhere.
            FileNameError: the name of a file cannot be stored.
        """
        try:
            mode = directory.stat().st_mode
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NoWeightsError(directory, "it does not exist") from error
        except OSError as error:
            raise UnreadableError(directory, str(error.strerror)) from error
        if not stat.S_ISDIR(mode):
            raise NoWeightsError(directory, "it is not a directory")
        found = dict(sorted(_walk(directory, "")))
        stamps = {path: what for path, what in found.items() if isinstance(what, Stamp)}
        left_out = [LeftOut(path, what) for path, what in found.items() if isinstance(what, str)]
        return cls(directory, stamps, tuple(left_out))

    def weights(self) -> tuple[str, ...]:
        """The safetensors files directly in it, without an adapter's, sorted."""
        return tuple(
            path
            for path in self.stamps
            if path.endswith(_WEIGHTS) and "/" not in path and not _ADAPTER.fullmatch(path)
        )

    def apart(self) -> tuple[str, ...]:
        """The safetensors files in subfolders that are not the model's own weights, sorted."""
        own = set(self.shards)
        return tuple(
            path
            for path in self.stamps
            if path.endswith(_WEIGHTS) and "/" in path and path not in own
        )

    def adapters(self) -> tuple[str, ...]:
        """Weights of an adapter directly in it, sorted."""
        return tuple(filter(_ADAPTER.fullmatch, self.stamps))

    def files(self) -> tuple[str, ...]:
        """The files without tensors of the checkpoint, sorted."""
        weights = {*self.shards, *self.apart()}
        return tuple(path for path in self.stamps if path not in weights)

    def index(self) -> str | None:
        """The index that says which files hold the weights, None if there is none to follow.

        Raises:
            CheckpointError: several indexes, none of which takes precedence.
        """
        indexes = tuple(path for path in self.stamps if path.endswith(_INDEX) and "/" not in path)
        if MODEL_INDEX in indexes:
            return MODEL_INDEX
        if MODEL in self.stamps or not indexes:
            return None
        if len(indexes) > 1:
            raise self._ambiguous(indexes)
        return indexes[0]

    def keep_weights(self, shards: set[str] | None) -> CheckpointFolder:
        """This folder, with the weights left out as unused that are not meant.

        Args:
            shards: the files that the index names, None without an index.

        Raises:
            CheckpointError: model.safetensors lies beside the shards of its own index.
            AdapterError: the only weights are an adapter's.
            MissingShardError: shards are missing, going by the numbers in their names.
            PickleError: the only weights are pickles.
            NoWeightsError: there are no weights.
        """
        weights = self.weights()
        if shards is None:
            shards = {MODEL} if MODEL in weights else set(weights)
            check_numbers(self.directory, shards)
        elif MODEL in weights and MODEL not in shards:
            # transformers loads model.safetensors, vLLM what the index names.
            raise self._ambiguous((MODEL, MODEL_INDEX))
        if not shards:
            raise self._no_weights()
        unused = set(weights) - shards
        kept = {path: stamp for path, stamp in self.stamps.items() if path not in unused}
        left_out = [*self.left_out, *(LeftOut(path, "unused") for path in unused)]
        return CheckpointFolder(
            self.directory,
            kept,
            tuple(sorted(left_out, key=attrgetter("path"))),
            tuple(sorted(shards)),
        )

    def _no_weights(self) -> CheckpointError:
        if self.adapters():
            return AdapterError(self.directory, self.adapters()[0])
        here = {*self.stamps, *(item.path for item in self.left_out)}
        pickles = tuple(sorted(filter(_PICKLED_WEIGHTS.fullmatch, here)))
        if pickles:
            return PickleError(self.directory, pickles)
        return NoWeightsError(self.directory, "it holds no safetensors file")

    def _ambiguous(self, files: tuple[str, ...]) -> CheckpointError:
        return CheckpointError(
            self.directory,
            f"{self.directory} holds several sets of weights ({', '.join(files)}) of which "
            "programs load different ones; remove those that are not meant.",
        )


def _walk(directory: Path, inside: str) -> Iterator[tuple[str, Stamp | str]]:
    """Each file below `directory / inside` with its stamp, or what is left out with the reason."""
    here = directory / inside
    try:
        with os.scandir(here) as entries:
            found = list(entries)
    except OSError as error:
        raise UnreadableError(here, str(error.strerror)) from error
    beside = any(entry.name.endswith(_WEIGHTS) for entry in found)
    for entry in found:
        path = inside + entry.name
        reason = _why_left_out(entry, beside=beside)
        if reason:
            yield os.fsencode(path).decode(errors="backslashreplace"), reason
        elif entry.is_dir():
            yield from _walk(directory, path + "/")
        else:
            _check_name(directory, path)
            yield path, Stamp.of(entry.stat())


def _check_name(directory: Path, path: str) -> None:
    try:
        check_path(path, str(directory))
    except (PathError, UnicodeEncodeError) as error:
        raise FileNameError(directory, path) from error


def _why_left_out(entry: os.DirEntry[str], *, beside: bool) -> str:
    """The reason for which an entry is not part of the checkpoint; empty if it is.

    Args:
        entry: the entry.
        beside: whether safetensors files lie beside it.
    """
    if entry.name.startswith("."):
        return "hidden"
    pickle = _is_needless_pickle(entry.name.lower(), beside=beside)
    try:
        mode = entry.stat().st_mode
    except OSError as error:
        if pickle:
            return "pickle"
        raise UnreadableError(Path(entry.path), str(error.strerror)) from error
    if stat.S_ISDIR(mode):
        return _why_not_entered(entry)
    if not stat.S_ISREG(mode):
        return "special"
    return "pickle" if pickle else ""


def _is_needless_pickle(name: str, *, beside: bool) -> bool:
    """Whether a file, by its name in lower case, is a trainer's state or weights kept twice."""
    if not name.endswith(_PICKLES):
        return False
    twice = beside and _SAME_WEIGHTS.fullmatch(name) is not None
    return twice or _TRAINER_STATE.fullmatch(name) is not None


def _why_not_entered(folder: os.DirEntry[str]) -> str:
    if folder.name.startswith(_EARLIER):
        return "checkpoint"
    if folder.name == "runs":
        return "runs"
    return "link" if folder.is_symlink() else ""
