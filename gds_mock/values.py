"""The values of the contract as they stand on the wire: pods, entries and changes."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from gds_mock.errors import BadPod

_POD_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


class Endpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One address that serves a pod."""

    address: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    zone: str = ""
    weight: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 1


class Pod(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A logical partition of the backend. Only on ``PUT /pods/{pod}`` may the name be left out: the path has it."""

    name: str = ""
    datacenter: str = ""
    endpoints: tuple[Endpoint, ...] = ()
    max_connections: Annotated[int, msgspec.Meta(ge=1, le=0xFFFFFFFF)] = 1024


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A domain, the pod it lives on, and the revision at which that last changed: who did it, and when, if known."""

    domain: str
    pod: str
    revision: int
    by: str | None = None
    at: str | None = None


class PutDomain(msgspec.Struct, frozen=True, tag_field="op", tag="put"):
    """The domain lives on the pod from this revision on."""

    domain: str
    pod: str
    kind: Literal["domain"] = "domain"


class DeleteDomain(msgspec.Struct, frozen=True, tag_field="op", tag="delete"):
    """The domain is unknown from this revision on."""

    domain: str
    kind: Literal["domain"] = "domain"


class PutPod(msgspec.Struct, frozen=True, tag_field="op", tag="put"):
    """The pod, whole, as it is from this revision on."""

    pod: msgspec.Raw
    kind: Literal["pod"] = "pod"


class DeletePod(msgspec.Struct, frozen=True, tag_field="op", tag="delete"):
    """The pod is gone from this revision on."""

    name: str
    kind: Literal["pod"] = "pod"


Change = PutDomain | DeleteDomain | PutPod | DeletePod

_POD = msgspec.json.Decoder(Pod)
_PODS = msgspec.json.Decoder(list[Pod])


def is_pod_name(name: str) -> bool:
    """Whether ``name`` can name a pod: letters, digits, ``.``, ``_`` and ``-``, at most 63 of them."""
    return _POD_NAME.fullmatch(name) is not None


def decode_pod(body: bytes | str) -> Pod:
    """One pod from JSON; its name is not checked yet. Raises BadPod."""
    try:
        return _POD.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadPod(f"not a pod: {error}") from None


def decode_pods(body: bytes) -> list[Pod]:
    """A JSON array of whole, checked pods. Raises BadPod."""
    try:
        pods = _PODS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadPod(f"not an array of pods: {error}") from None
    for pod in pods:
        check_pod(pod)
    return pods


def check_pod(pod: Pod) -> None:
    """Raises BadPod unless the name is one and every endpoint has an IP address."""
    if not is_pod_name(pod.name):
        raise BadPod(f"{pod.name[:80]!r} is not a pod's name: letters, digits, '.', '_' and '-', at most 63")
    for number, endpoint in enumerate(pod.endpoints):
        try:
            address = ipaddress.ip_address(endpoint.address)
        except ValueError:
            raise BadPod(f"pod {pod.name}: endpoints[{number}].address is not an IP address") from None
        if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
            raise BadPod(f"pod {pod.name}: endpoints[{number}].address must not have a zone id")


def encode(value: object) -> bytes:
    """JSON, as everywhere on the wire."""
    return _ENCODER.encode(value)


def encode_lines(values: Sequence[object]) -> bytes:
    """NDJSON, a value a line."""
    return _ENCODER.encode_lines(values)


_ENCODER = msgspec.json.Encoder()
