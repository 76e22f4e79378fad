"""A server in a process of its own: `MODEL NAME FOLDER`; it writes a line when it is ready."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pvc import serve
from pvc.errors import PvcError

if TYPE_CHECKING:
    from pvc.serve.server import Serving


def ready(told: Serving) -> None:
    say(dataclasses.asdict(told))


def say(what: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    model, name, folder = sys.argv[1:]
    torch.set_num_threads(1)
    try:
        serve.serve(model, name=name, port=0, device="cpu", folder=Path(folder), ready=ready)
    except PvcError as error:
        say({"error": type(error).__name__, "message": str(error)})
        return
    say({"ended": True})


if __name__ == "__main__":
    main()
