"""What the extra `serve` installs, and whether it is there."""

from __future__ import annotations

from importlib.util import find_spec

from pvc.errors import PvcError

PACKAGES = ("fastapi", "uvicorn")


class MissingExtraError(PvcError):
    """A package of the extra `serve` is not installed.

    Attributes:
        package: its name.
    """

    def __init__(self, package: str) -> None:
        self.package = package
        super().__init__(
            f"Serving needs the package {package}, which is not installed; `pip install "
            "'pvc[serve]'` installs it."
        )


def require() -> None:
    """Make sure that the extra is installed.

    Raises:
        MissingExtraError: it is not.
    """
    for package in PACKAGES:
        if find_spec(package) is None:
            raise MissingExtraError(package)
