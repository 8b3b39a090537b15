"""Requests as they come over the wire, read into the protocol's values."""

from __future__ import annotations

from envoy_data_plane.envoy.config.core.v3 import Node as WireNode
from envoy_data_plane.envoy.service.discovery.v3 import DeltaDiscoveryRequest, DiscoveryRequest
from envoy_data_plane.google.rpc import Status

from xds.errors import ProtocolError
from xds.protocol.messages import DeltaRequest, Node, SotwRequest


def parse_delta(raw: bytes) -> DeltaRequest:
    """Raises ProtocolError when ``raw`` isn't a DeltaDiscoveryRequest."""
    try:
        message = DeltaDiscoveryRequest.parse(raw)
    except Exception as error:  # the parser names no errors of its own
        raise ProtocolError(f"not a DeltaDiscoveryRequest: {error}") from error
    return DeltaRequest(
        message.type_url,
        tuple(message.resource_names_subscribe),
        tuple(message.resource_names_unsubscribe),
        message.initial_resource_versions,
        message.response_nonce,
        _error(message.error_detail),
        _node(message.node),
    )


def parse_sotw(raw: bytes) -> SotwRequest:
    """Raises ProtocolError when ``raw`` isn't a DiscoveryRequest."""
    try:
        message = DiscoveryRequest.parse(raw)
    except Exception as error:  # the parser names no errors of its own
        raise ProtocolError(f"not a DiscoveryRequest: {error}") from error
    return SotwRequest(
        message.type_url,
        tuple(message.resource_names),
        message.version_info,
        message.response_nonce,
        _error(message.error_detail),
        _node(message.node),
    )


def _error(status: Status | None) -> str | None:
    return None if status is None else status.message or f"code {status.code}"


def _node(node: WireNode | None) -> Node | None:
    if node is None:
        return None
    build = node.user_agent_build_version
    version = build.version if build else None
    number = f" {version.major_number}.{version.minor_number}.{version.patch}" if version else ""
    return Node(node.id, node.cluster, f"{node.user_agent_name}{number}".strip())
