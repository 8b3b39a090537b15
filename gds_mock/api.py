"""The contract's calls as HTTP: each handler reads the request, asks the service, and words the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, FastAPI, Header, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse
from sse_starlette import EventSourceResponse
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from gds_mock import contract, problems
from gds_mock.authorship import HEADER, parse_actor
from gds_mock.errors import BadPod, BadRequest, TooLarge
from gds_mock.names import normalise
from gds_mock.ndjson import NdjsonReader
from gds_mock.negotiation import prefers_json
from gds_mock.preconditions import etag, parse_if_match
from gds_mock.service import Service, Settings
from gds_mock.store import Snapshot, Store
from gds_mock.values import decode_pod, encode
from gds_mock.watch import parse_position, watch

BASE = "/rest/private/gds"

_LARGEST_BODY = 1 << 20  # of everything but a bulk load, which is never held whole
_BLOCK = 1 << 18

router = APIRouter(prefix=BASE)


async def _service(request: Request) -> Service:
    # Not because it waits: FastAPI sends a plain function to a thread, which costs more than the whole call.
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_BODY:
            raise TooLarge(f"the body is larger than {_LARGEST_BODY} bytes")
    return bytes(body)


async def _actor(
    request: Request,
    gds_actor: Annotated[str | None, Header(description="who makes the change: 1 to 200 printable characters")] = None,
) -> str | None:
    del gds_actor  # says in the document that there is such a header
    return parse_actor(request.headers.getlist(HEADER))


def _json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(encode(value), status, headers, "application/json")


Asked = Annotated[Service, Depends(_service)]
Body = Annotated[bytes, Depends(_body)]
Actor = Annotated[str | None, Depends(_actor)]
IfMatch = Annotated[str | None, Header()]


class _Placement(msgspec.Struct, forbid_unknown_fields=True):
    pod: str


class _Placed(msgspec.Struct):
    domain: str
    pod: str
    revision: int


@router.get("/backend/{host:path}", response_class=PlainTextResponse)
async def get_backend(host: str, service: Asked, accept: Annotated[str, Header()] = "") -> Response:
    """The pod's name alone. The entity tag is the host's own entry's: a wildcard's answer has none.

    With `Accept: application/json` the entry that answers: the domain, its own or the wildcard's, the pod, the revision
    at which that last changed, who did it (`by`) and when (`at`), where that is known."""
    domain = normalise(host)
    entry = await service.read(service.store.lookup, domain)
    headers = {"Vary": "Accept"}
    if prefers_json(accept):
        return _json(entry, headers=headers)
    if entry.domain == domain:
        headers["ETag"] = etag(entry.revision)
    return PlainTextResponse(entry.pod, headers=headers)


@router.put("/backend/{host:path}")
async def put_backend(host: str, service: Asked, body: Body, actor: Actor, if_match: IfMatch = None) -> Response:
    """Puts a domain on a pod. What is so already makes no new revision."""
    domain, condition = normalise(host), parse_if_match(if_match)
    try:
        pod = msgspec.json.decode(body, type=_Placement).pod
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f'the body must be {{"pod": "<name>"}}: {error}') from None
    done = await service.write(service.store.put_domain, domain, pod, condition, actor)
    return _json(
        _Placed(domain, pod, done.revision), 201 if done.created else 200, headers={"ETag": etag(done.changed_at)}
    )


@router.delete("/backend/{host:path}", status_code=204)
async def delete_backend(host: str, service: Asked, actor: Actor, if_match: IfMatch = None) -> Response:
    """Forgets a domain; its own entry only, never the wildcard that would answer for it."""
    await service.write(service.store.delete_domain, normalise(host), parse_if_match(if_match), actor)
    return Response(status_code=204)


@router.get("/backends")
async def get_backends(service: Asked) -> Response:
    """Everything at one revision, as NDJSON."""
    return _SnapshotResponse(service, await service.read(service.store.snapshot))


@router.post("/backends")
async def post_backends(request: Request, service: Asked, actor: Actor) -> Response:
    """Puts and deletes as one revision, or none of them."""
    stage = await service.read(service.store.stage)
    try:
        reader, block = NdjsonReader(stage), bytearray()
        async for chunk in request.stream():
            block += chunk
            if len(block) >= _BLOCK:
                await service.read(reader.feed, bytes(block))
                block.clear()
        await service.read(reader.feed, bytes(block))
        await service.read(reader.finish)
        return _json(await service.write(stage.apply, (), actor, limit=service.settings.load_limit))
    except ClientDisconnect:
        return problems.problem(400, "the body ended early: nothing was applied")
    finally:
        await asyncio.shield(service.read(stage.close))


@router.get("/pods")
async def get_pods(service: Asked) -> Response:
    """All pods."""
    return _json(await service.read(service.store.pods))


@router.get("/pods/{name}")
async def get_pod(name: str, service: Asked) -> Response:
    """One pod."""
    pod, revision = await service.read(service.store.pod, name)
    return _json(pod, headers={"ETag": etag(revision)})


@router.put("/pods/{name}")
async def put_pod(name: str, service: Asked, body: Body, actor: Actor) -> Response:
    """Creates or replaces a pod, and answers it whole. What is so already makes no new revision."""
    pod = decode_pod(body)
    if pod.name not in ("", name):
        raise BadPod(f"the body names pod {pod.name[:80]!r}, the path {name[:80]!r}")
    pod = msgspec.structs.replace(pod, name=name)
    done = await service.write(service.store.put_pod, pod, actor)
    return _json(pod, 201 if done.created else 200, headers={"ETag": etag(done.changed_at)})


@router.delete("/pods/{name}", status_code=204)
async def delete_pod(name: str, service: Asked, actor: Actor) -> Response:
    """Deletes a pod that no domain lives on."""
    await service.write(service.store.delete_pod, name, actor)
    return Response(status_code=204)


@router.get("/watch")
async def get_watch(
    service: Asked,
    epoch: str | None = None,
    after: str | None = None,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Every change after a revision, as it is committed."""
    epoch, revision = parse_position(last_event_id, epoch, after)
    seq = await service.read(service.store.position_after, epoch, revision)
    settings = service.settings
    return EventSourceResponse(
        watch(service, seq, revision),
        ping=0,
        send_timeout=settings.send_limit,
        shutdown_grace_period=settings.end_limit,  # it ends by itself, and whole
    )


@router.get("/healthz")
async def get_healthz(service: Asked) -> Response:
    """Whether the store answers."""
    revision = await service.read(service.store.revision)
    return _json({"status": "ok", "epoch": service.store.epoch, "revision": revision})


class _SnapshotResponse(StreamingResponse):
    """Closes its snapshot however the answer ends, and cuts off a reader that would keep it open too long."""

    def __init__(self, service: Service, snapshot: Snapshot) -> None:
        self._service, self._snapshot = service, snapshot
        super().__init__(self._blocks(), media_type="application/x-ndjson")

    async def _blocks(self) -> AsyncIterator[bytes]:
        yield await self._service.read(self._snapshot.head)
        while block := await self._service.read(self._snapshot.block):
            yield block

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self._service.settings.snapshot_limit):
                await super().__call__(scope, receive, send)
        finally:
            await asyncio.shield(self._service.read(self._snapshot.close))


def create_app(store: Store, settings: Settings | None = None) -> FastAPI:
    """The application over an open store, which the caller closes after it."""
    service = Service(store, settings or Settings())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(title="Global Directory Service", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service = service
    problems.install(app)
    app.include_router(router)
    contract.install(app, BASE)
    return app
