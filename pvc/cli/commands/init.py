"""`pvc init`."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pvc.cli.output import answers, current, short
from pvc.cli.progress import crew, threads_option
from pvc.cli.shared.repository import directory, path
from pvc.wording import size

if TYPE_CHECKING:
    from collections.abc import Iterator


@click.command(
    "init",
    epilog="Exit status: 0 done, 18 the base consists of pickles, 19 it cannot be read, or the "
    "directory is taken.",
)
@click.argument("where", type=click.Path(path_type=Path), required=False, metavar="[DIR]")
@click.option(
    "--base", type=click.Path(path_type=Path), required=True, metavar="DIR",
    help="The checkpoint that everything will be relative to.",
)  # fmt: skip
@click.option(
    "--base-by-reference", is_flag=True,
    help="Do not store the base's bytes: if its folder changes, nothing can be read any more.",
)  # fmt: skip
@threads_option
@answers
def command(where: Path | None, base: Path, base_by_reference: bool, threads: int | None) -> None:
    """Make a repository relative to a base.

    An existing git repository keeps everything it has; pvc commits its own files only.

    \b
    pvc init --base ./qwen3-8b
    pvc init story --base ./qwen3-8b     in a directory of its own
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
        "seconds": round(seconds, 3),
    }
    stored = f"{size(done.stored_bytes)} stored of {size(done.total_bytes)}"
    lines = [
        f"base {short(done.config.base_tree)}: {done.tensors} tensors, {stored}, {seconds:.1f} s",
        f"repository {done.root}",
    ]
    output.answer(document, lines)
    for one in done.left_out:
        output.note(f"left out: {one.path} ({one.reason})")
    if not done.config.by_value:
        output.warn(f"the base is stored by reference; {base} must never change")


@contextlib.contextmanager
def created(root: Path) -> Iterator[None]:
    """A directory for the repository; if it gets none, what was made goes again."""
    made = [folder for folder in (root, *root.parents) if not folder.exists()]
    root.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for folder in made:
                folder.rmdir()
        raise
