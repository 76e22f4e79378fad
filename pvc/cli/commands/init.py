"""`pvc init`."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pvc.cli.output import answers, current, short
from pvc.cli.progress import crew, threads_option
from pvc.cli.shared.left_out import tell
from pvc.cli.shared.repository import directory, path
from pvc.wording import counted, size

if TYPE_CHECKING:
    from collections.abc import Iterator


@click.command(
    "init",
    epilog="Exit status: 0 success, 18 the base is stored as pickles, 19 the base cannot be read, "
    "or the directory has a repository already.",
)
@click.argument("where", type=click.Path(path_type=Path), required=False, metavar="[DIR]")
@click.option(
    "--base", type=click.Path(path_type=Path), required=True, metavar="DIR",
    help="Checkpoint that training results are stored against.",
)  # fmt: skip
@click.option(
    "--base-by-reference", is_flag=True,
    help="Do not copy the base into the repository. If its directory changes, no weights can be "
    "read.",
)  # fmt: skip
@threads_option
@answers
def command(where: Path | None, base: Path, base_by_reference: bool, threads: int | None) -> None:
    """Create a repository for training results of a base model.

    In an existing git repository, pvc commits only its own files.

    \b
    pvc init --base ./qwen3-8b
    pvc init story --base ./qwen3-8b     in a new directory
    """
    from pvc.repo.commands.init import initialise

    output, began = current(), time.monotonic()
    root = path(where) if where is not None else directory()
    with created(root), crew(output, threads) as workers:
        done = initialise(root, path(base), by_value=not base_by_reference, crew=workers)
    seconds = time.monotonic() - began
    document = {
        "root": str(done.root),
        "commit": done.commit,
        "base": {
            "tree": done.config.base_tree.hex(),
            "layout": done.config.base_layout.hex(),
            "origin": done.config.base_path,
            "stored": "value" if done.config.by_value else "reference",
        },
        "tensors": done.tensors,
        "total_bytes": done.total_bytes,
        "stored_bytes": done.stored_bytes,
        "left_out": [{"path": one.path, "reason": one.reason} for one in done.left_out],
        "notes": list(done.notes),
        "seconds": round(seconds, 3),
    }
    stored = f"{size(done.stored_bytes)} stored of {size(done.total_bytes)}"
    lines = [
        f"base {short(done.config.base_tree)}: {counted(done.tensors, 'tensor')}, {stored}, "
        f"{seconds:.1f} s",
        f"repository {done.root}",
    ]
    output.answer(document, lines)
    tell(output, done.left_out, done.notes)
    if not done.config.by_value:
        output.warn(f"the base is not copied: {base} must never change")


@contextlib.contextmanager
def created(root: Path) -> Iterator[None]:
    """Create a directory for the repository, and remove it again if that fails."""
    made = [folder for folder in (root, *root.parents) if not folder.exists()]
    root.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for folder in made:
                folder.rmdir()
        raise
