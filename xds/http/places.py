"""At most so many answers at a time that go on for long: each has its place from its begin to its end, so that many who
ask at once don't find the same place free."""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from xds.http.problems import problem


class Places:
    """``otherwise``: what those are told, with 503, for whom there is none."""

    def __init__(self, most: int, otherwise: str) -> None:
        self._most = most
        self._otherwise = otherwise
        self._taken = 0

    def held(self, response: Response) -> Response:
        """An answer that has a place while it is sent."""
        return _Held(self, response)

    async def send(self, response: Response, scope: Scope, receive: Receive, send: Send) -> None:
        if self._taken >= self._most:
            await problem(503, self._otherwise, {"retry-after": "10"})(scope, receive, send)
            return
        self._taken += 1
        try:
            await response(scope, receive, send)
        finally:
            self._taken -= 1


class _Held(Response):
    def __init__(self, places: Places, response: Response) -> None:
        super().__init__()
        self._places = places
        self._response = response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._places.send(self._response, scope, receive, send)
