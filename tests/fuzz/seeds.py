"""Valid conversations to mutate: what Envoy says, in both variants."""

from __future__ import annotations

from envoy_data_plane.envoy.config.core.v3 import BuildVersion
from envoy_data_plane.envoy.config.core.v3 import Node as WireNode
from envoy_data_plane.envoy.service.discovery.v3 import DeltaDiscoveryRequest, DiscoveryRequest
from envoy_data_plane.envoy.type.v3 import SemanticVersion
from envoy_data_plane.google.protobuf import Struct, Value
from envoy_data_plane.google.rpc import Status
from fuzz_target import PUBLISH, PULL_ONE, RELEASE, REQUEST, frame

from xds.resources.types import TYPES

NODE = WireNode(
    id="edge-1",
    cluster="edge",
    metadata=Struct(fields={"zone": Value(string_value="a")}),
    user_agent_name="envoy",
    user_agent_build_version=BuildVersion(version=SemanticVersion(major_number=1, minor_number=40)),
)
CHANGES = (bytes(range(6)), bytes(range(64, 70)), bytes(range(128, 134)), bytes((0, 70, 133)))


def seeds() -> list[bytes]:
    return [_delta(), _delta_returns(), _sotw(), *(_single(number) for number in range(len(TYPES)))]


def _delta() -> bytes:
    out = [b"\x00"]
    for kind in TYPES:
        names = [] if kind.wildcard else ["a", "b", "gone"]
        out.append(_request(DeltaDiscoveryRequest(node=NODE, type_url=kind.url, resource_names_subscribe=names)))
    for nonce in range(1, 24):
        url = TYPES[nonce % 6].url
        error = Status(code=3, message="bad") if nonce % 7 == 0 else None
        more = ["b", "*"] if nonce % 5 == 0 else []
        out.append(
            _request(
                DeltaDiscoveryRequest(
                    type_url=url,
                    response_nonce=str(nonce),
                    error_detail=error,
                    resource_names_subscribe=more,
                    resource_names_unsubscribe=["a"] if nonce % 6 == 5 else [],
                )
            )
        )
        out.append(frame((PUBLISH, RELEASE, PULL_ONE)[nonce % 3], CHANGES[nonce % 4]))
    return b"".join(out)


def _delta_returns() -> bytes:
    out = [b"\x00"]
    for kind in TYPES:
        held = {"a": "1", "gone": "2"}
        names = ["*"] if kind.wildcard else ["a", "gone"]
        request = DeltaDiscoveryRequest(
            node=NODE, type_url=kind.url, resource_names_subscribe=names, initial_resource_versions=held
        )
        out.append(_request(request))
        out.append(frame(PUBLISH, CHANGES[3]))
    return b"".join(out)


def _sotw() -> bytes:
    out = [b"\x01"]
    for kind in TYPES:
        names = [] if kind.wildcard else ["a", "b"]
        out.append(_request(DiscoveryRequest(node=NODE, type_url=kind.url, resource_names=names, version_info="1")))
    for nonce in range(1, 24):
        error = Status(code=3, message="bad") if nonce % 7 == 0 else None
        names = [["a"], ["*", "b"], [], ["a", "b"]][nonce % 4]
        out.append(
            _request(
                DiscoveryRequest(
                    type_url=TYPES[nonce % 6].url,
                    resource_names=names,
                    response_nonce=str(nonce),
                    error_detail=error,
                )
            )
        )
        out.append(frame((PUBLISH, RELEASE, PULL_ONE)[nonce % 3], CHANGES[nonce % 4]))
    return b"".join(out)


def _single(number: int) -> bytes:
    first = _request(DeltaDiscoveryRequest(node=NODE, resource_names_subscribe=["a"]))
    ack = _request(DeltaDiscoveryRequest(response_nonce="1", resource_names_subscribe=["b"] * 3))
    return bytes((2 | number << 2,)) + first + ack + frame(PUBLISH, CHANGES[2])


def _request(message: DeltaDiscoveryRequest | DiscoveryRequest) -> bytes:
    return frame(REQUEST, bytes(message))
