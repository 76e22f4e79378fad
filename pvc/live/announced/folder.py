"""The folder in which engines are found: one manifest and one socket for each.

    /dev/shm/pvc-<uid>/<name>.json     the manifest, 0600
    /dev/shm/pvc-<uid>/<name>.sock     the control socket, 0600

It does not depend on the environment, so that every process of a user looks in one place; it goes
with a reboot.  Nothing in it is followed, read or trusted unless it is the user's own and private.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc_store import atomic
from pvc_store.lock import hold

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_MANIFEST_BYTES = 64 << 20
LOCK_WAIT_SECONDS = 5.0
MANIFEST, SOCKET = ".json", ".sock"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}")


class NotPrivateError(PvcError):
    """A file or folder that only its user may reach is something else.

    Attributes:
        path: the file or folder.
        detail: what was found and what was expected.
    """

    def __init__(self, path: Path, detail: str) -> None:
        self.path = path
        self.detail = detail
        super().__init__(f"{path} cannot be trusted: {detail}.")


class EngineNameError(PvcError):
    """A text cannot be the name of an engine.

    Attributes:
        name: the text.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"{name[:80]!r} is no name for an engine: 1 to 60 letters, digits, dots, dashes and "
            "underscores are expected, the first of them a letter or digit."
        )


class FolderError(PvcError):
    """The folder of engines cannot be written.

    Attributes:
        path: the folder.
        reason: what the system says.
    """

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"The engine cannot be announced in {path}: {reason}.")


def default_path() -> Path:
    """The folder of this user's engines."""
    return Path("/dev/shm") / f"pvc-{os.geteuid()}"  # noqa: S108  # checked to be private


def check_name(name: str) -> None:
    """Make sure that a name can be an engine's.

    Raises:
        EngineNameError: it may not.
    """
    if not _NAME.fullmatch(name):
        raise EngineNameError(name)


class EngineFolder:
    """A folder of engines.

    Args:
        path: where; None stands for the user's own.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = default_path() if path is None else path

    def create(self) -> None:
        """Make the folder, if it is not there.

        Raises:
            NotPrivateError: what is there is not private.
            FolderError: it cannot be made.
        """
        with contextlib.suppress(FileExistsError):
            try:
                self.path.mkdir(mode=0o700)
            except FileExistsError:
                raise
            except OSError as error:
                raise FolderError(self.path, str(error.strerror)) from error
        self.check()

    def check(self) -> None:
        """Make sure that the folder is private.

        Raises:
            NotPrivateError: it is not.
        """
        found = self.path.lstat()
        if not stat.S_ISDIR(found.st_mode):
            raise NotPrivateError(self.path, "it is no folder")
        _check_owner(self.path, found)

    def names(self) -> list[str]:
        """Names of all manifests; none if there is no folder.

        Raises:
            NotPrivateError: the folder is not private.
        """
        try:
            self.check()
        except FileNotFoundError:
            return []
        found = (path.name.removesuffix(MANIFEST) for path in self.path.glob(f"*{MANIFEST}"))
        return sorted(name for name in found if _NAME.fullmatch(name))

    def is_empty(self) -> bool:
        """Whether nothing is announced, nor left of what was.

        Raises:
            NotPrivateError: the folder is not private.
        """
        try:
            self.check()
        except FileNotFoundError:
            return True
        return not any(path.suffix in {MANIFEST, SOCKET} for path in self.path.iterdir())

    def read(self, name: str) -> bytes:
        """The manifest of an engine.

        Raises:
            FileNotFoundError: there is none.
            NotPrivateError: it is not private, or no plain file of sensible size.
        """
        path = self.path / f"{name}{MANIFEST}"
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise NotPrivateError(path, f"it cannot be opened ({error.strerror})") from error
        with os.fdopen(fd, "rb") as file:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise NotPrivateError(path, "it is no plain file")
            _check_owner(path, found)
            if found.st_size > MAX_MANIFEST_BYTES:
                raise NotPrivateError(path, f"it has {found.st_size} bytes")
            return file.read(MAX_MANIFEST_BYTES)

    def write(self, name: str, manifest: bytes) -> None:
        """Put a manifest in place, whole or not at all.

        Raises:
            FolderError: the system refuses.
        """
        try:
            atomic.write_file(self.path / f"{name}{MANIFEST}", manifest, 0o600)
        except OSError as error:
            raise FolderError(self.path, str(error.strerror)) from error

    def remove(self, name: str) -> None:
        """Remove manifest and socket of an engine."""
        for suffix in (MANIFEST, SOCKET):
            (self.path / f"{name}{suffix}").unlink(missing_ok=True)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep others from adding or removing engines while the block runs.

        Raises:
            LockedError: another process is doing so.
            FolderError: the system refuses.
        """
        holder = f"process {os.getpid()}"
        path = self.path / "lock"
        with contextlib.ExitStack() as holding:
            try:
                lock = hold(path, exclusive=True, wait=LOCK_WAIT_SECONDS, holder=holder)
                holding.enter_context(lock)
            except OSError as error:
                raise FolderError(self.path, str(error.strerror)) from error
            yield

    def is_deaf(self, name: str) -> bool:
        """Whether it is certain that no process listens at an engine's socket."""
        import socket

        try:
            with self.socket_address(name) as address, socket.socket(socket.AF_UNIX) as probe:
                probe.setblocking(False)
                probe.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            return True
        except OSError:  # it has too much to do, for example
            return False
        return False

    def check_socket(self, name: str) -> None:
        """Make sure that an engine's socket is private.

        Raises:
            FileNotFoundError: there is none.
            NotPrivateError: it is not, or no socket.
        """
        path = self.path / f"{name}{SOCKET}"
        found = path.lstat()
        if not stat.S_ISSOCK(found.st_mode):
            raise NotPrivateError(path, "it is no socket")
        _check_owner(path, found)

    @contextlib.contextmanager
    def socket_address(self, name: str) -> Iterator[str]:
        """The address of an engine's socket, short enough wherever the folder is."""
        fd = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{fd}/{name}{SOCKET}"
        finally:
            os.close(fd)


def _check_owner(path: Path, found: os.stat_result) -> None:
    user = os.geteuid()
    if found.st_uid != user:
        raise NotPrivateError(path, f"it belongs to user {found.st_uid}, not to {user}")
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise NotPrivateError(path, f"its mode is {mode:04o}, so that others can reach it")
