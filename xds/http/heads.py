"""HEAD: whatever can be read with GET answers it with the same status and headers, and without a body."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Heads:
    """The middleware. An answer without an end is ended after its headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        told = False

        async def without_body(message: Message) -> None:
            nonlocal told
            if message["type"] != "http.response.body":
                await send(message)
            elif not told:
                told = True
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        async def until_told() -> Message:
            return {"type": "http.disconnect"} if told else await receive()

        await self._app({**scope, "method": "GET"}, until_told, without_body)
