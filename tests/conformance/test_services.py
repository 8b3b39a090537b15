"""What the xDS port offers beside discovery: health, reflection and client status (CSDS); and the gate before all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import grpc
import pytest
from conformance_server import Server
from envoy_data_plane.envoy.admin.v3 import ClientResourceStatus
from envoy_data_plane.envoy.service.status.v3 import (
    ClientConfig,
    ClientConfigGenericXdsConfig,
    ClientStatusRequest,
    ClientStatusResponse,
)
from envoy_data_plane.envoy.type.matcher.v3 import NodeMatcher, StringMatcher
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from xds_client import ADS, CDS, EDS, METHODS, PATIENCE, RDS, SDS, VHDS, Client

Serve = Callable[..., AbstractContextManager[Server]]

CSDS = "envoy.service.status.v3.ClientStatusDiscoveryService"
HEALTH = "grpc.health.v1.Health"


def health_of(client: Client) -> str:
    stub: Any = health_pb2_grpc.HealthStub(client.channel)
    answer = stub.Check(health_pb2.HealthCheckRequest(service=""), timeout=PATIENCE, wait_for_ready=True)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def test_health_is_serving_only_once_the_gate_is_open(serve: Serve) -> None:
    with serve(gate=False) as server, Client(server.port) as client:
        assert health_of(client) == "NOT_SERVING"
        stub: Any = health_pb2_grpc.HealthStub(client.channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=""), timeout=PATIENCE)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        server.open_gate()
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        assert health_of(client) == "SERVING"
        watch.cancel()


def test_nothing_is_said_to_a_stream_before_the_gate_is_open(serve: Serve, variant: str) -> None:
    with serve(gate=False) as server, Client(server.port) as client:
        stream = client.stream(variant)
        stream.subscribe(CDS)
        for _ in range(3):
            assert health_of(client) == "NOT_SERVING"
        assert not stream.unread
        server.publish(CDS, a="1")
        assert health_of(client) == "NOT_SERVING"
        assert not stream.unread
        server.open_gate()
        assert stream.take().contents == {"a": "1"}


def test_reflection_lists_the_services_that_are_offered_and_no_other(client: Client) -> None:
    database = ProtoReflectionDescriptorDatabase(client.channel)
    offered = {ADS, CSDS, HEALTH, "grpc.reflection.v1alpha.ServerReflection"}
    offered |= {service for kind, (service, _) in METHODS.items() if kind != VHDS}
    assert set(database.get_services()) == offered


def test_reflection_describes_the_methods_and_their_messages(client: Client) -> None:
    database = ProtoReflectionDescriptorDatabase(client.channel)
    file = database.FindFileContainingSymbol(ADS)
    (service,) = [service for service in file.service if service.name == ADS.rpartition(".")[2]]
    methods = {method.name: method for method in service.method}
    assert set(methods) == {"StreamAggregatedResources", "DeltaAggregatedResources"}
    delta = methods["DeltaAggregatedResources"]
    assert delta.client_streaming
    assert delta.server_streaming
    assert delta.input_type == ".envoy.service.discovery.v3.DeltaDiscoveryRequest"
    messages = database.FindFileContainingSymbol("envoy.service.discovery.v3.DeltaDiscoveryRequest")
    (request,) = [message for message in messages.message_type if message.name == "DeltaDiscoveryRequest"]
    numbers = {field.name: field.number for field in request.field}
    assert numbers["type_url"] == 2
    assert numbers["response_nonce"] == 6


def fetch_raw(client: Client, request: bytes) -> bytes:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = client.channel.unary_unary(f"/{CSDS}/FetchClientStatus")
    return call(request, timeout=PATIENCE)


def fetch(client: Client, request: ClientStatusRequest | None = None) -> list[ClientConfig]:
    return ClientStatusResponse.parse(fetch_raw(client, bytes(request or ClientStatusRequest()))).config


def status_of(client: Client, node: str = "envoy-1") -> dict[tuple[str, str], ClientConfigGenericXdsConfig]:
    """By type and name."""
    (config,) = [config for config in fetch(client) if config.node is not None and config.node.id == node]
    return {(entry.type_url, entry.name): entry for entry in config.generic_xds_configs}


def test_client_status_tells_the_acked_the_rejected_and_the_awaited_apart(
    server: Server, client: Client, variant: str
) -> None:
    server.together({CDS: {"a": "1"}, EDS: {"a": "1"}, RDS: {"t": "1"}})
    stream = client.stream(variant)
    stream.ask(CDS)
    stream.subscribe(RDS, "t")
    stream.nack(stream.receive(), "t is bad")
    stream.quiet()
    stream.subscribe(EDS, "a")
    awaited = stream.receive()
    entries = status_of(client)

    acked = entries[CDS, "a"]
    assert acked.client_status is ClientResourceStatus.ACKED
    assert acked.version_info
    assert acked.error_state is None

    rejected = entries[RDS, "t"]
    assert rejected.client_status is ClientResourceStatus.NACKED
    assert rejected.error_state is not None
    assert rejected.error_state.details == "t is bad"
    assert rejected.error_state.version_info

    assert entries[EDS, "a"].client_status is ClientResourceStatus.REQUESTED
    stream.ack(awaited)
    stream.quiet()
    assert status_of(client)[EDS, "a"].client_status is ClientResourceStatus.ACKED


def test_client_status_versions_are_those_that_were_sent(server: Server, client: Client) -> None:
    server.publish(CDS, a="1", b="1")
    stream = client.delta()
    sent = stream.ask(CDS).versions
    stream.quiet()
    shown = {name: entry.version_info for (kind, name), entry in status_of(client).items() if kind == CDS}
    assert shown == sent


def test_client_status_shows_a_name_that_is_missing_as_asked_for(client: Client, variant: str) -> None:
    stream = client.stream(variant)
    stream.subscribe(RDS, "missing")
    stream.settle()
    assert status_of(client)[RDS, "missing"].client_status in (
        ClientResourceStatus.REQUESTED,
        ClientResourceStatus.DOES_NOT_EXIST,
    )


def test_client_status_names_the_version_that_was_rejected(server: Server, client: Client) -> None:
    server.publish(CDS, a="1")
    stream = client.delta()
    stream.ask(CDS)
    server.publish(CDS, a="2")
    bad = stream.receive()
    stream.nack(bad, "no")
    stream.quiet()
    entry = status_of(client)[CDS, "a"]
    assert entry.client_status is ClientResourceStatus.NACKED
    assert entry.error_state is not None
    assert entry.error_state.version_info == bad.versions["a"]


def test_client_status_is_of_every_node_that_is_connected(server: Server, client: Client) -> None:
    streams = [client.delta(node=node) for node in ("edge-1", "edge-2")]
    for stream in streams:
        stream.ask(CDS)
    assert _ids(fetch(client)) == ["edge-1", "edge-2"]
    matcher = ClientStatusRequest(node_matchers=[NodeMatcher(node_id=StringMatcher(exact="edge-2"))])
    assert _ids(fetch(client, matcher)) == ["edge-2"]
    streams[0].done()
    assert _ids(fetch(client)) == ["edge-2"]


def _ids(configs: Iterable[ClientConfig]) -> list[str]:
    return sorted(config.node.id for config in configs if config.node is not None)


def test_client_status_streams_an_answer_to_each_request(server: Server, client: Client) -> None:
    stream = client.delta()
    stream.ask(CDS)
    call: grpc.StreamStreamMultiCallable[bytes, bytes] = client.channel.stream_stream(f"/{CSDS}/StreamClientStatus")
    answers = [ClientStatusResponse.parse(raw) for raw in call(iter([b"", b""]), timeout=PATIENCE)]
    assert [_ids(answer.config) for answer in answers] == [["envoy-1"], ["envoy-1"]]


def test_client_status_never_shows_a_secret(server: Server, client: Client) -> None:
    server.publish(SDS, edge="the private key")
    stream = client.delta(probe=EDS)
    stream.ask(SDS, "edge")
    stream.quiet()
    entry = status_of(client)[SDS, "edge"]
    assert entry.client_status is ClientResourceStatus.ACKED
    assert b"the private key" not in bytes(entry)


def test_client_status_refuses_what_is_no_request(client: Client) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        fetch_raw(client, b"\xff" * 12)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
