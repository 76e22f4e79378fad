"""The header x-pvc-weights: which weights a reply of vLLM's server comes from.

    x-pvc-weights: pvc:1297481e86df...                      one tree; "loaded" before the first
    x-pvc-weights: pvc:1297481e86df..., pvc:c693c2faa0f3... pvc has written since the request came

vLLM's own fields for that are fixed when it starts.  A stream has its header before its text, so a
change in the middle of it does not show: `pvc live hold` keeps changes out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from pvc.live.protocol.engine_state import EngineState

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Message, Receive, Send], Awaitable[None]]

HEADER = b"x-pvc-weights"


class WeightsHeader:
    """Adds the header to every reply.

    Args:
        app: the ASGI application behind it, whose `state.pvc` is the engine.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, and mark its reply."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        before = _state(scope)

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                value = _value(before, _state(scope))
                if value:
                    message["headers"] = [*message.get("headers", ()), (HEADER, value)]
            await send(message)

        await self._app(scope, receive, marked)


def _state(scope: Message) -> EngineState | None:
    engine = getattr(scope["app"].state, "pvc", None) if "app" in scope else None
    return None if engine is None else engine.state


def _value(before: EngineState | None, after: EngineState | None) -> bytes:
    """One version, or both if pvc has written meanwhile, even if it wrote the same again."""
    if before is None or after is None:
        return b""
    found = (before, after) if before.generation != after.generation else (after,)
    return ", ".join(one.version for one in found).encode()
