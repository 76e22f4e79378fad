"""`pvc serve`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pvc.cli.output import answers, current
from pvc.cli.shared.repository import path

if TYPE_CHECKING:
    from pvc.serve.server import Serving

LOCAL = ("127.0.0.1", "::1", "localhost")


@click.command(
    "serve",
    epilog="Exit status: 0 it was told to stop, 19 the model cannot be loaded or shared, the "
    "address is taken, or the extra `serve` is not installed.",
)
@click.argument("model", metavar="MODEL")
@click.option("--name", default="default", metavar="ENGINE", help="What the engine is called.")
@click.option("--host", default="127.0.0.1", metavar="ADDRESS", help="Where to listen.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, metavar="N",
    help="The port to listen at; 0 takes a free one.",
)  # fmt: skip
@click.option(
    "--device", metavar="DEVICE",
    help="cpu, cuda or cuda:N; without it, the first GPU if there is one.",
)  # fmt: skip
@answers
def command(model: str, name: str, host: str, port: int, device: str | None) -> None:
    """Serve a model by OpenAI's HTTP interface, and share its weights.

    MODEL is a directory, or a name that transformers knows. Completions, chat and streaming are
    there. Ctrl-C ends it. Nobody is asked for a password: other hosts are for proxies that do.

    \b
    pvc serve ./served
    pvc serve ./served --name chat --port 8001
    pvc checkout main --live chat      other weights for it, while it runs
    """
    from pvc import serve

    serve.require()
    found = path(Path(model))
    output = current()
    if host not in LOCAL:
        output.warn(f"whoever reaches {host} can ask this model; it knows no passwords")

    def ready(told: Serving) -> None:
        document = {
            "name": told.name,
            "url": told.url,
            "model": told.model,
            "device": told.device,
            "dtype": told.dtype,
        }
        what = f"{told.model}, {told.dtype}, {told.device}"
        output.answer(document, [f"{told.name}: {told.url} ({what})"])
        sys.stdout.flush()

    serve.serve(
        str(found) if found.is_dir() else model,
        name=name,
        host=host,
        port=port,
        device=device,
        ready=ready,
    )
    output.note("stopped")
