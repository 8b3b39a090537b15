"""Something that is done before each call of any service, as a gRPC interceptor."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import lru_cache
from typing import Any

import grpc

Context = grpc.aio.ServicerContext[Any, Any]


class BeforeEachCall(grpc.aio.ServerInterceptor):
    """``first`` may end the call: `grpc.aio.ServicerContext.abort`. Calls of unknown methods are shown to it too."""

    def __init__(self, first: Callable[[Context], Awaitable[None]]) -> None:
        self._first = first
        # The services have the same handlers for all calls; under a scan of unknown hosts there are hundreds a second.
        self._leading = lru_cache(256)(self._lead)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        return self._leading(await continuation(handler_call_details))

    def _lead(self, handler: grpc.RpcMethodHandler[Any, Any] | None) -> grpc.RpcMethodHandler[Any, Any]:
        if handler is None:
            return grpc.stream_stream_rpc_method_handler(self._led(_unknown))
        for kind in ("unary_unary", "unary_stream", "stream_unary", "stream_stream"):
            call = getattr(handler, kind)
            if call is not None:
                break
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        made: grpc.RpcMethodHandler[Any, Any] = make(
            self._led(call), handler.request_deserializer, handler.response_serializer
        )
        return made

    def _led(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Of the same sort as ``call``: gRPC looks at what sort of function it is given."""
        first = self._first

        async def generate(request: object, context: Context) -> AsyncIterator[Any]:
            await first(context)
            async for response in call(request, context):
                yield response

        async def answer(request: object, context: Context) -> Any:
            await first(context)
            return await call(request, context)

        return generate if inspect.isasyncgenfunction(call) else answer


async def _unknown(request: object, context: Context) -> None:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
