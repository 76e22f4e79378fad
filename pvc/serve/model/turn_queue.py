"""Requests take turns: one is generated at a time, the others wait in the order they came.

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
    from pvc.serve.model.loaded import LoadedModel
    from pvc.serve.model.order import Order, ReplyPiece

log = logging.getLogger("pvc.live")

MAX_WAITING = 256


class CrowdedError(PvcError):
    """Too many requests wait."""

    def __init__(self) -> None:
        super().__init__(f"{MAX_WAITING} requests wait already; try again later.")


class PausedError(PvcError):
    """The weights are not whole, and nothing is generated with them.

    Attributes:
        reason: why not.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"The engine is paused until a checkout repairs its weights: {reason}")


class BrokenError(PvcError):
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

    def paused(self) -> str | None:
        """Why nothing is generated until a checkout repairs the engine, or None."""
        return self._engine.state.torn

    def weights(self) -> str | None:
        """The version of the weights; None before pvc wrote any."""
        origin = self._engine.state.origin
        return None if origin is None else f"pvc:{origin.tree.hex()}"

    async def take(self, order: Order, gone: threading.Event) -> AsyncGenerator[ReplyPiece]:
        """Wait for a turn, and generate.

        Args:
            order: what.
            gone: set if nobody wants it any more.

        Raises:
            CrowdedError: too many others wait.
            PausedError: the engine waits to be repaired.
            BrokenError: it failed.
        """
        if self._waiting >= MAX_WAITING:
            raise CrowdedError
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[ReplyPiece | PvcError | None] = asyncio.Queue()

        def tell(what: ReplyPiece | PvcError | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody listens
                loop.call_soon_threadsafe(pieces.put_nowait, what)

        self._waiting += 1
        try:
            self._thread.submit(self._work, order, gone, tell)
            while (found := await pieces.get()) is not None:
                if isinstance(found, PvcError):
                    raise found
                yield found
        finally:
            gone.set()
            self._waiting -= 1

    def _work(
        self,
        order: Order,
        gone: threading.Event,
        tell: Callable[[ReplyPiece | PvcError | None], None],
    ) -> None:
        def stopped() -> bool:
            return gone.is_set() or self._closed.is_set()

        try:
            if not stopped():
                self._generate(order, stopped, tell)
        except PvcError as error:
            tell(error)
        except (RuntimeError, ValueError, LookupError, TypeError) as error:
            log.exception("pvc: A reply could not be generated.")
            tell(BrokenError(str(error) or type(error).__name__))
        finally:
            tell(None)

    def _generate(
        self, order: Order, stopped: Callable[[], bool], tell: Callable[[ReplyPiece], None]
    ) -> None:
        reason = self.paused()
        if reason is not None:
            raise PausedError(reason)
        with self._engine.step():
            weights = self.weights()
            for choice in range(len(order.prompts) * order.replies):
                if stopped():
                    return
                Reply(self._loaded, order, choice, weights, tell).generate(stopped)
