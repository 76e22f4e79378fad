"""Writes docs/rooms.md from docstrings: `python -m tests.rooms > docs/rooms.md`."""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
HEAD = """\
# Rooms

Written by `python -m tests.rooms > docs/rooms.md` from the docstrings of the packages and modules;
a test compares. They stand in the order of the layers: a room imports from rooms below it only,
which `[tool.importlinter]` in `pyproject.toml` holds. [architecture.md](architecture.md) follows a
commit and a checkout through them.
"""


def page() -> str:
    """The page."""
    store = ROOT / "store" / "pvc_store"
    return "\n".join([HEAD, *_rooms("pvc", ROOT / "pvc"), *_rooms("pvc_store", store)])


def packages() -> dict[str, str]:
    """The docstring of every room, by dotted name, from the top layer to the lowest."""
    store = ROOT / "store" / "pvc_store"
    return dict(_packages("pvc", ROOT / "pvc")) | dict(_packages("pvc_store", store))


def _packages(name: str, folder: Path) -> Iterator[tuple[str, str]]:
    yield name, _docstring(folder / "__init__.py")
    for part in _parts(name, folder):
        if (folder / part / "__init__.py").exists():
            yield from _packages(f"{name}.{part}", folder / part)


def _rooms(name: str, folder: Path) -> Iterator[str]:
    path = f"{folder.relative_to(ROOT)}/"
    yield f"{'#' * min(4, 2 + name.count('.'))} {path}\n"
    yield f"{_docstring(folder / '__init__.py')}\n"
    parts = _parts(name, folder)
    modules = [part for part in parts if (folder / f"{part}.py").exists()]
    if modules:
        yield "| module | |\n|---|---|"
        for module in modules:
            first, *_ = _docstring(folder / f"{module}.py").splitlines()
            yield f"| `{module}.py` | {first.rstrip('.')} |"
        yield ""
    for part in parts:
        if part not in modules:
            yield from _rooms(f"{name}.{part}", folder / part)


def _parts(name: str, folder: Path) -> list[str]:
    """Modules and packages of a package: in the order of its layers, else of the alphabet."""
    there = {
        path.stem
        for path in folder.iterdir()
        if (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").exists()
    }
    order = {part: at for at, part in enumerate(_layers(name))}
    return sorted(there, key=lambda part: (order.get(part, len(order)), part))


def _layers(name: str) -> Iterator[str]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    for contract in contracts["contracts"]:
        if contract.get("containers") == [name]:
            for layer in contract["layers"]:
                yield from layer.split(" | ")


def _docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text())) or ""


if __name__ == "__main__":
    sys.stdout.write(page())
