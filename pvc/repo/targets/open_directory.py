"""An open directory: its files are found from its descriptor, and no link in it is followed.

A path is walked part by part from the directory that was opened, so nothing outside of it is read
or changed, whatever is renamed or replaced meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.targets.home import Identity
from pvc.weights.fingerprint import Stamp
from pvc_store import atomic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import Self

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class ReplacedError(PvcError):
    """Something else is where pvc wrote a directory.

    Attributes:
        path: where.
        found: what is there.
    """

    def __init__(self, path: Path, found: str) -> None:
        self.path = path
        self.found = found
        super().__init__(f"{path} is not the directory that pvc wrote: {found} is there now.")


class LinkError(PvcError):
    """A folder in a directory was replaced by a link.

    Attributes:
        path: the folder.
        found: what is there.
    """

    def __init__(self, path: Path, found: str) -> None:
        self.path = path
        self.found = found
        super().__init__(f"{path} is {found}, where pvc wrote a folder; it is left untouched.")


def described(path: Path) -> str:
    """What lies at a path, in words."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return "nothing"
    if stat.S_ISLNK(mode):
        return f"a link to {os.readlink(path)}"  # noqa: PTH115
    return "a directory" if stat.S_ISDIR(mode) else "a file"


class OpenDirectory:
    """A directory that stays open; use it as a context.

    Args:
        path: the directory.

    Attributes:
        identity: its device and inode.

    Raises:
        ReplacedError: there is something else at the path.
        OSError: it is out of reach.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._fd = os.open(path, _FOLDER)
        except OSError as error:
            if Identity.of(path) is not None:
                raise
            raise ReplacedError(path, described(path)) from error
        self.identity = Identity.in_status(os.fstat(self._fd))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def open(self, name: str, flags: int, mode: int = 0o644) -> int:
        """A descriptor of a file; the caller closes it.

        Raises:
            LinkError: one of its folders is a link.
            OSError: the file is not there, is a link, or the disk refuses.
        """
        with self._parent(name) as (folder, last):
            return os.open(last, flags | os.O_NOFOLLOW, mode, dir_fd=folder)

    def status(self, name: str) -> os.stat_result | None:
        """The status of a file or folder itself, None if it is not there.

        Raises:
            LinkError: one of its folders is a link.
        """
        try:
            with self._parent(name) as (folder, last):
                return os.stat(last, dir_fd=folder, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def stamps(self, names: Iterable[str]) -> dict[str, Stamp]:
        """The stamps of those files that are there.

        Raises:
            LinkError: one of their folders is a link.
        """
        found = ((name, self.status(name)) for name in names)
        return {name: Stamp.of(status) for name, status in found if status is not None}

    def make_folders(self, name: str) -> None:
        """Create the folders that a file lies in; their names are durable then.

        Raises:
            LinkError: one of them is a link.
        """
        parts = name.split("/")[:-1]
        for count in range(1, len(parts) + 1):
            with self._parent("/".join(parts[:count])) as (folder, last):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(last, dir_fd=folder)
                atomic.sync(folder)

    def replace(self, temporary: str, final: str) -> None:
        """Rename a file within its folder, in place of what had the other name; durably."""
        with self._parent(final) as (folder, last):
            os.replace(
                temporary.rsplit("/", maxsplit=1)[-1], last, src_dir_fd=folder, dst_dir_fd=folder
            )
            atomic.sync(folder)

    def remove(self, name: str) -> None:
        """Remove a file, and those of its folders that are empty then; it may be gone already."""
        parts = name.split("/")
        gone = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
        with contextlib.suppress(*gone), self._parent(name) as (folder, last):
            os.unlink(last, dir_fd=folder)
        for count in range(len(parts) - 1, 0, -1):
            try:
                with self._parent("/".join(parts[:count])) as (folder, last):
                    os.rmdir(last, dir_fd=folder)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError:  # something is left in it
                return

    def names(self, name: str) -> list[str]:
        """Names of what lies beside a file; none if its folder is not there.

        Raises:
            LinkError: one of its folders is a link.
        """
        try:
            with self._parent(name) as (folder, _):
                return os.listdir(folder)  # noqa: PTH208
        except (FileNotFoundError, NotADirectoryError):
            return []

    def free_bytes(self) -> int:
        """How much room its file system has."""
        found = os.statvfs(self._fd)
        return found.f_bavail * found.f_frsize

    def sync(self, names: Iterable[str]) -> None:
        """Make the names in the folders of some files durable, where these folders are there."""
        for name in {name.rpartition("/")[0]: name for name in names}.values():
            gone = contextlib.suppress(FileNotFoundError, NotADirectoryError)
            with gone, self._parent(name) as (folder, _):
                atomic.sync(folder)

    @contextlib.contextmanager
    def _parent(self, name: str) -> Iterator[tuple[int, str]]:
        """The descriptor of the folder of a file, and the file's name in it."""
        *folders, last = name.split("/")
        fd, opened = self._fd, []
        try:
            for count, part in enumerate(folders, 1):
                try:
                    fd = os.open(part, _FOLDER, dir_fd=fd)
                except OSError as error:
                    path = self.path.joinpath(*folders[:count])
                    if path.is_symlink():
                        raise LinkError(path, described(path)) from error
                    raise
                opened.append(fd)
            yield fd, last
        finally:
            for each in opened:
                os.close(each)
