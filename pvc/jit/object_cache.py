"""The cache of object files, so that numba compiles a kernel once on a machine.

    __pycache__/<module>.<kernel>-<digest>.o      or in ~/.cache/pvc, where that is read-only
        32 bytes    BLAKE3 of everything after them, keyed by what the object is for
        the rest    an object file

What an object is for: the kernel's Python code, the numbers of its module that it uses, the types
of its arguments, what compiles it, the processor.  The digest is of all this, so that a file is
right or not found.  It appears whole, under its name; one that does not fit its check value is made
again.  The check value is no secret: a file is loaded only if nobody but this user and root can
have written it, and a folder is used only if nobody else may write there.

Limits: objects of old sources stay, some kilobytes each.  Where nothing can be written, each
process compiles.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.util import cache_from_source
from pathlib import Path
from typing import TYPE_CHECKING

from blake3 import blake3

from pvc.jit import machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pvc.jit.signature import Type

USER_FOLDER = "~/.cache/pvc"


@dataclass(frozen=True, slots=True)
class CachedObject:
    """A place for the machine code of a kernel.

    Attributes:
        source: the file that the kernel is in.
        label: module and name of the kernel.
        key: 32 bytes, the digest of what the object is for.
    """

    source: Path
    label: str
    key: bytes

    @classmethod
    def of(cls, kernel: Callable[..., None], signature: tuple[Type, ...]) -> CachedObject:
        """Where the machine code of a kernel for arguments of some types is kept."""
        source = Path(kernel.__code__.co_filename)
        label = f"{source.stem}.{kernel.__name__}"
        purpose = [
            label,
            *map(str, signature),
            *_content(kernel),
            machine.describe(),
            *_COMPILED_BY,
        ]
        return cls(source, label, blake3("\n".join(purpose).encode()).digest())

    @property
    def name(self) -> str:
        """Name of the function in the object, and of the file."""
        return f"{self.label}-{self.key.hex()[:32]}"

    def read(self) -> bytes | None:
        """The object file; None if it is not there, damaged, or perhaps written by others."""
        for folder in self._folders():
            with contextlib.suppress(OSError):
                content = _read_private(folder / f"{self.name}.o")
                if content[:32] == self._check_value(content[32:]):
                    return content[32:]
        return None

    def write(self, code: bytes) -> None:
        """Keep the object file, where there is a place for it."""
        for folder in self._folders():
            new = folder / f"{self.name}.{os.urandom(16).hex()}"
            try:
                folder.mkdir(parents=True, exist_ok=True, mode=0o755)
                if not _made_private(folder):
                    continue
                new.touch(mode=0o644, exist_ok=False)
                new.write_bytes(self._check_value(code) + code)
                new.replace(folder / f"{self.name}.o")
            except OSError:
                with contextlib.suppress(OSError):
                    new.unlink(missing_ok=True)
            else:
                return

    def _check_value(self, code: bytes) -> bytes:
        return blake3(code, key=self.key).digest()

    def _folders(self) -> Iterator[Path]:
        if self.source.is_file():
            yield _beside(self.source)
            with contextlib.suppress(RuntimeError):  # no home is known
                yield Path(USER_FOLDER).expanduser()


def is_private(status: os.stat_result) -> bool:
    """Whether a file or folder is this user's or root's, and nobody else may write to it."""
    return status.st_uid in {0, os.geteuid()} and not status.st_mode & 0o022


def _made_private(folder: Path) -> bool:
    """Whether a folder is private; one of pvc's own becomes it."""
    status = folder.stat()
    if folder.name == USER_FOLDER.rpartition("/")[2] and status.st_uid == os.geteuid():
        folder.chmod(stat.S_IMODE(status.st_mode) & ~0o022)
        status = folder.stat()
    return is_private(status)


def is_private_beside(source: Path) -> bool:
    """Whether that is so of the folder beside a source: numba's own cache is there, too."""
    with contextlib.suppress(OSError):
        return is_private(_beside(source).stat())
    return False


def _beside(source: Path) -> Path:
    return Path(cache_from_source(source)).parent


def _read_private(path: Path) -> bytes:
    """The content of a file that only this user and root can have written; empty if others can."""
    if not is_private(path.parent.stat()):
        return b""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123
        status = os.fstat(file.fileno())
        return file.read() if stat.S_ISREG(status.st_mode) and is_private(status) else b""


def _content(kernel: Callable[..., None]) -> Iterator[str]:
    """What numba reads of a kernel, which may have changed in its file since it was imported."""
    code = kernel.__code__
    yield f"{code.co_code.hex()} {code.co_consts} {code.co_names} {code.co_varnames}"
    for name in code.co_names:
        value = kernel.__globals__.get(name)
        if isinstance(value, int | float):
            yield f"{name} = {value!r}"


def _compiled_by() -> Iterator[str]:
    """Which Python, which numba, and which modules compile; numba is not imported for that."""
    yield f"{sys.implementation.cache_tag} {object.__basicsize__}"
    numba = PathFinder.find_spec("numba")
    if numba is not None and numba.origin is not None:
        status = Path(numba.origin).stat()
        yield f"{status.st_size} {status.st_mtime_ns}"
    for name in ("compiler.py", "machine.py"):
        with contextlib.suppress(OSError):  # perhaps they are not files
            yield blake3(Path(__file__).with_name(name).read_bytes()).hexdigest()


_COMPILED_BY = tuple(_compiled_by())
