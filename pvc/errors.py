"""The root of every error that pvc raises on purpose.

Each module defines the errors it raises; all of them descend from `PvcError`, carry their facts
as attributes, and read as one plain sentence.  Exit codes and hints belong to the command line.
"""

from pvc_store.errors import PvcError

__all__ = ["MalformedError", "PvcError"]


class MalformedError(PvcError):
    """A text file of a repository does not follow its format; each format has its own subclass.

    Attributes:
        where: the file, with its commit where there is one.
        detail: what was found and what was expected.
    """

    def __init__(self, where: str, detail: str) -> None:
        self.where = where
        self.detail = detail
        super().__init__(f"{where} is malformed: {detail}.")
