"""`pvc demo`."""

from __future__ import annotations

import click


@click.command("demo")
def command() -> None:
    """Show the story on a small model."""
