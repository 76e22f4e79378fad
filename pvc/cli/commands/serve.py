"""`pvc serve`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pvc.cli.numbers import WholeNumber
from pvc.cli.output import answers, current
from pvc.cli.shared.repository import path

if TYPE_CHECKING:
    from pvc.serve.server import Serving

LOCAL = ("127.0.0.1", "::1", "localhost")


@click.command(
    "serve",
    epilog="Exit status: 0 stopped, 19 the model cannot be loaded or shared, the address is in "
    "use, or the extra `serve` is not installed.",
)
@click.argument("model", metavar="MODEL")
@click.option("--name", default="default", metavar="ENGINE", help="Name of the engine.")
@click.option("--host", default="127.0.0.1", metavar="ADDRESS", help="Address to listen on.")
@click.option(
    "--port", type=WholeNumber(0, 65535), default=8000, metavar="N",
    help="Port to listen on; 0 picks a free one.",
)  # fmt: skip
@click.option(
    "--device", metavar="DEVICE",
    help="cpu, cuda or cuda:N. Default: the first GPU, or else the CPU.",
)  # fmt: skip
@answers
def command(model: str, name: str, host: str, port: int, device: str | None) -> None:
    """Serve a model over an OpenAI-compatible HTTP API.

    The server is an engine: its weights can be replaced while it runs. MODEL is a directory or a
    model name for transformers. Completions, chat and streaming are supported. Ctrl-C stops the
    server. It has no authentication: do not let other hosts reach it except through a proxy that
    has.

    \b
    pvc serve ./served
    pvc serve ./served --name chat --port 8001
    pvc checkout main --live chat      replace its weights while it runs
    """
    from pvc import serve

    serve.require()
    found = path(Path(model))
    output = current()
    if host not in LOCAL:
        output.warn(f"anyone who can reach {host} can use this model: there is no authentication")

    def ready(serving: Serving) -> None:
        document = {
            "name": serving.name,
            "url": serving.url,
            "model": serving.model,
            "device": serving.device,
            "dtype": serving.dtype,
        }
        what = f"{serving.model}, {serving.dtype}, {serving.device}"
        output.answer(document, [f"{serving.name}: {serving.url} ({what})"])
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
