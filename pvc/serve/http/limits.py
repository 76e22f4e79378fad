"""How large requests may be; larger ones are refused before they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 8 << 20
MAX_PROMPTS = 64
MAX_REPLIES = 16
MAX_STOPS = 16
MAX_STOP_LENGTH = 256
MAX_ALTERNATIVES = 20
MAX_MESSAGES = 4096

TOO_LARGE = 413


class BodyLimit:
    """Refuses bodies of more than MAX_BODY_BYTES.

    Args:
        app: the application behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count the bytes of its body."""
        count = 0

        async def counted() -> Message:
            nonlocal count
            message = await receive()
            count += len(message.get("body", b""))
            if count > MAX_BODY_BYTES:
                text = f"The request has more than {MAX_BODY_BYTES} bytes."
                raise HTTPException(TOO_LARGE, text)
            return message

        await self._app(scope, counted, send)
