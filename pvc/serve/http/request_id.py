"""The header x-request-id: a reply has that of its request, or one of its own."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "x-request-id"

_PLAIN = re.compile(r"[\x21-\x7e]{1,200}")


class RequestId:
    """Gives every reply a request id.

    Args:
        app: the application behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; its reply gets the id of its header, if that is plain text."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        found = Headers(scope=scope).get(HEADER, "")
        identity = found if _PLAIN.fullmatch(found) else uuid.uuid4().hex

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = identity
            await send(message)

        await self._app(scope, receive, marked)
