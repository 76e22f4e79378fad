"""The server: a model is loaded, shared and served until a signal ends it."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from pvc.live.announced.folder import EngineFolder, check_name
from pvc.live.announced.registry import check_free
from pvc.live.pytorch.share import share
from pvc.serve.http.app import Service
from pvc.serve.model.loaded_model import UnservableError, load
from pvc.serve.model.turn_queue import TurnQueue
from pvc.weights.checkpoint import Checkpoint
from pvc.weights.errors import CheckpointError
from pvc.wording import agreeing, counted, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from pvc.live.protocol.manifest import Manifest

log = logging.getLogger("pvc.live")

HOST, PORT = "127.0.0.1", 8000
GRACE_SECONDS = 10
"""How long requests under way may take to end, once a signal has come."""


@dataclass(frozen=True, slots=True)
class Serving:
    """A running server.

    Attributes:
        url: its address.
        name: of engine and model.
        model: its class.
        device: where its weights are.
        dtype: of most of its weights, as PyTorch calls it.
    """

    url: str
    name: str
    model: str
    device: str
    dtype: str


def serve(  # noqa: PLR0913 - options, each by its name
    model: str,
    *,
    name: str = "default",
    host: str = HOST,
    port: int = PORT,
    device: str | None = None,
    folder: Path | None = None,
    ready: Callable[[Serving], None] = lambda _: None,
) -> None:
    """Load a model, share it, and answer requests until SIGINT or SIGTERM.

    Args:
        model: a directory, or a name that transformers knows.
        name: what people call the engine.
        host: address to listen at.
        port: port to listen at; 0 takes a free one.
        device: where the model goes; None is the first CUDA device, or the CPU if there is none.
        folder: where engines are announced; None is the user's own.
        ready: called when requests are answered.

    Raises:
        UnservableError: the model cannot be loaded; or the address is taken, or none of this
            machine's.
        PvcError: it cannot be shared; see `pvc.live.pytorch.share`.
    """
    with contextlib.ExitStack() as closing:
        listener, url = _bind(host, port)
        closing.callback(listener.close)
        check_name(name)
        check_free(EngineFolder(folder), name)
        loaded = load(model, device)
        checkpoint = _checkpoint(Path(model))
        unloaded = () if checkpoint is None else _unloaded(checkpoint, loaded.model)
        engine = share(loaded.model, name, unloaded=unloaded, folder=folder)
        turns = TurnQueue(loaded, engine)
        closing.callback(turns.close)
        closing.callback(engine.close)  # first: a turn may wait at its gate
        if checkpoint is not None:
            _compare(checkpoint, engine.manifest)
        device_name, dtype = str(loaded.model.device), str(loaded.model.dtype)
        serving = Serving(
            url, name, engine.manifest.model, device_name, dtype.removeprefix("torch.")
        )
        server = _Server(Service(name, loaded, turns).app(), lambda: ready(serving))
        server.run(sockets=[listener])


class _Server(uvicorn.Server):
    """Calls `ready` once it listens; a signal ends it without an error."""

    def __init__(self, app: Any, ready: Callable[[], None]) -> None:
        self._ready = ready
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            log_level="critical",  # a request that is cut off in the end is no mistake
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    def handle_exit(self, sig: int, _frame: FrameType | None) -> None:
        """The first signal ends it when requests are answered, the second at once."""
        self.force_exit |= self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def _bind(host: str, port: int) -> tuple[socket.socket, str]:
    """A socket at an address, at which nobody listens yet, and its URL."""
    shown = f"[{host}]" if ":" in host else host
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise UnservableError(f"Nothing can be served at {shown}:{port}: {reason}.") from error
    return listener, f"http://{shown}:{listener.getsockname()[1]}"


def _checkpoint(directory: Path) -> Checkpoint | None:
    """The checkpoint of a directory; None for pickles and for names of the hub."""
    try:
        return Checkpoint.open(directory)
    except CheckpointError:
        return None


def _unloaded(checkpoint: Checkpoint, model: Any) -> tuple[str, ...]:
    """Tensors of a checkpoint that the model has no place for, if it has all others as they are.

    Where it has tensors of other names, too, they were fused or renamed, and none is left out.
    """
    there = checkpoint.own_tensors.keys()
    own = model.state_dict(keep_vars=True)
    places = {name: one.data_ptr() for name, one in own.items()}
    tied = {places[name] for name in own.keys() & there}
    if any(places[name] not in tied for name in own.keys() - there):
        return ()
    left = tuple(sorted(there - own.keys()))
    if left:
        log.warning(
            "pvc: the model has no place for %s of %s (%s), and computes without: what a commit "
            "changes there alone has no effect in it.",
            counted(len(left), "tensor"), checkpoint.directory, shown(left),
        )  # fmt: skip
    return left


def _compare(checkpoint: Checkpoint, manifest: Manifest) -> None:
    """Warn if transformers did not load the tensors as they are: no checkout could follow."""
    differing = list(_differing(checkpoint, manifest))
    if differing:
        log.warning(
            "pvc: %s %s between %s and the model that transformers made of it; weights of this "
            "kind cannot be checked out into it.",
            shown(differing, 1), agreeing(len(differing), "differs", "differ"),
            checkpoint.directory,
        )  # fmt: skip


def _differing(checkpoint: Checkpoint, manifest: Manifest) -> Iterator[str]:
    for name, place in checkpoint.own_tensors.items():
        live = manifest.tensors.get(name)
        if name in manifest.unloaded:
            continue
        if live is None or (live.kind.name, live.shape) != (place.kind.name, place.shape):
            yield name
