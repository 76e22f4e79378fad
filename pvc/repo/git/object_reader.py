"""The process that reads git's objects: one `git cat-file --batch` for all of them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable


class GitObject(NamedTuple):
    """One object.

    Attributes:
        name: its id in hexadecimal.
        sort: "commit", "tree", "blob" or "tag".
        data: its content.
    """

    name: str
    sort: str
    data: bytes


class ReaderEndedError(Exception):
    """The process ended before it answered.

    Attributes:
        status: its exit code, or minus the number of the signal.
    """

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"git cat-file ended with status {status}")


class ObjectReader:
    """Reads objects by id or revision; its process starts with the first question.

    Args:
        start: starts `git cat-file --batch` with pipes.
    """

    def __init__(self, start: Callable[[], subprocess.Popen[bytes]]) -> None:
        self._start = start
        self._process: subprocess.Popen[bytes] | None = None

    def get(self, name: str) -> GitObject | None:
        """The object of a name, or None if there is none.

        A process that ended since the last question is replaced: an interrupt hits it too.

        Args:
            name: an id or a revision, without a newline.

        Raises:
            ReaderEndedError: the process ended before it answered.
        """
        is_new = self._process is None
        try:
            return self._answer(name)
        except ReaderEndedError:
            if is_new:
                raise
        return self._answer(name)

    def _answer(self, name: str) -> GitObject | None:
        if self._process is None:
            self._process = self._start()
        try:
            return _ask(self._process, name)
        except EOFError:
            raise ReaderEndedError(self.close()) from None
        except BaseException:
            self.close()  # of an answer that was interrupted, the rest is still in the pipe
            raise

    def close(self) -> int:
        """End the process, if one runs.  Returns its exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        return process.wait()


def _ask(process: subprocess.Popen[bytes], name: str) -> GitObject | None:
    """Ask for one object.

    Raises:
        EOFError: the process ended.
    """
    asking, answering = process.stdin, process.stdout
    assert asking is not None  # noqa: S101 - both are pipes
    assert answering is not None  # noqa: S101
    try:
        asking.write(name.encode(errors="surrogateescape") + b"\n")
        asking.flush()
    except BrokenPipeError:
        raise EOFError from None
    header = answering.readline()
    if header.endswith((b" missing\n", b" ambiguous\n")):
        return None
    if not header.endswith(b"\n"):
        raise EOFError
    identity, sort, size = header.split()
    data = answering.read(int(size) + 1)
    if len(data) <= int(size):
        raise EOFError
    return GitObject(identity.decode(), sort.decode(), data[:-1])


def tree_entries(data: bytes) -> dict[str, tuple[bool, str]]:
    """The entries of a tree: whether each is a file, and its id, by name.

    Args:
        data: the tree's content: mode, space, name, NUL, 20 bytes of id, again and again.
    """
    found, at = {}, 0
    while at < len(data):
        end = data.index(b"\0", at)
        mode, _, name = data[at:end].partition(b" ")
        at = end + 21
        is_file = mode.startswith((b"10", b"12"))  # or a symbolic link; else a tree, a submodule
        found[name.decode(errors="surrogateescape")] = (is_file, data[end + 1 : at].hex())
    return found
