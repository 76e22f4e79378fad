"""The queue of requests: one is generated at a time, the others wait in the order they came.

A request is one step of the engine, with all its replies; so they come from one set of weights.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.serve.model.reply import Reply

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from pvc.live.pytorch.share import Engine
    from pvc.serve.model.generation_job import GenerationJob, ReplyPiece
    from pvc.serve.model.loaded_model import LoadedModel

log = logging.getLogger("pvc.live")

MAX_WAITING = 256


class UnavailableError(PvcError):
    """A request cannot be taken now: too many wait, or the weights are torn."""


class GenerationError(PvcError):
    """Generating failed.

    Attributes:
        reason: what was raised.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"The reply could not be generated: {reason}.")


class TurnQueue:
    """Generates with one model, in a thread of its own.

    Args:
        loaded: the model.
        engine: that it is shared by.
    """

    def __init__(self, loaded: LoadedModel, engine: Engine) -> None:
        self._loaded = loaded
        self._engine = engine
        self._closed = threading.Event()
        self._waiting = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pvc generation")

    def close(self) -> None:
        """End the turn that is under way; the engine's gate must be open."""
        self._closed.set()
        self._thread.shutdown(cancel_futures=True)

    def check_weights(self) -> None:
        """Make sure that the engine's weights are whole; also while they are written.

        Raises:
            UnavailableError: they are torn.
        """
        torn = self._engine.state.torn
        if torn is not None:
            text = f"The engine is paused until a checkout repairs its weights: {torn}"
            raise UnavailableError(text)

    def weights(self) -> str:
        """The version of the weights; see `EngineState.version`."""
        return self._engine.state.version

    async def take(self, job: GenerationJob, gone: threading.Event) -> AsyncGenerator[ReplyPiece]:
        """Wait for a turn, and generate.

        Args:
            job: the job.
            gone: set when the client has hung up.

        Raises:
            UnavailableError: too many others wait, or the engine has to be repaired.
            GenerationError: it failed.
        """
        if self._waiting >= MAX_WAITING:
            text = f"{MAX_WAITING} requests wait already; try again later."
            raise UnavailableError(text)
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[ReplyPiece | PvcError | None] = asyncio.Queue()

        def send(what: ReplyPiece | PvcError | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody listens
                loop.call_soon_threadsafe(pieces.put_nowait, what)

        self._waiting += 1
        try:
            self._thread.submit(self._work, job, gone, send)
            while (found := await pieces.get()) is not None:
                if isinstance(found, PvcError):
                    raise found
                yield found
        finally:
            gone.set()
            self._waiting -= 1

    def _work(
        self,
        job: GenerationJob,
        gone: threading.Event,
        send: Callable[[ReplyPiece | PvcError | None], None],
    ) -> None:
        def stopped() -> bool:
            return gone.is_set() or self._closed.is_set()

        try:
            if not stopped():
                self._generate(job, stopped, send)
        except PvcError as error:
            send(error)
        except (RuntimeError, ValueError, LookupError, TypeError) as error:
            log.exception("pvc: A reply could not be generated.")
            send(GenerationError(str(error) or type(error).__name__))
        finally:
            send(None)

    def _generate(
        self, job: GenerationJob, stopped: Callable[[], bool], send: Callable[[ReplyPiece], None]
    ) -> None:
        self.check_weights()
        with self._engine.step():
            weights = self.weights()
            for choice in range(len(job.prompts) * job.replies):
                if stopped():
                    return
                Reply(self._loaded, job, choice, weights, send).generate(stopped)
