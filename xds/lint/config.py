"""A configuration dump as the rules read it: bootstrap, listeners and clusters as plain values, names in snake case.

Source: envoy.admin.v3.ConfigDump, as Envoy's ``/config_dump`` gives it. Pure.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography import x509

from xds.errors import LintError

Message = Mapping[str, Any]
"""One of Envoy's messages as JSON. An empty one stands for one that isn't there: all defaults."""

NOTHING: Message = {}


NAMES = 2_000
"""Certificates on demand that an Envoy holds at a time, unless the settings say otherwise."""


@dataclass(frozen=True, slots=True)
class Secured:
    """A filter chain that speaks TLS, with its DownstreamTlsContext. ``socket``: what that stands in."""

    listener: Message
    chain: Message
    context: Message
    socket: Message
    quic: bool


@dataclass(frozen=True, slots=True)
class Config:
    """``version``: Envoy's, such as (1, 40), or () when the dump doesn't say. ``rejected``: what Envoy didn't take, or
    doesn't serve yet, with the reason: the rest is what it runs instead. ``hosts``: by the name of a secret, the host
    names of the service's certificates that are here. ``names``: certificates on demand that an Envoy may hold."""

    bootstrap: Message = field(default_factory=dict)
    listeners: tuple[Message, ...] = ()
    clusters: tuple[Message, ...] = ()
    tables: tuple[Message, ...] = ()
    version: tuple[int, ...] = ()
    rejected: tuple[str, ...] = ()
    hosts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    names: int = NAMES

    def managers(self, listener: Message) -> Iterator[Message]:
        """The HTTP connection managers of a listener."""
        for chain in chains(listener):
            yield from managers_of(chain)

    def every_manager(self) -> list[Message]:
        return [manager for listener in self.listeners for manager in self.managers(listener)]

    def serving(self) -> list[Message]:
        """The managers that lead to pods: all whose routes come from elsewhere."""
        return [one for one in self.every_manager() if "route_config" not in one]

    def routes(self) -> Iterator[tuple[str, Message]]:
        """What takes a request to a pod, and where that stands."""
        for table in self.tables:
            for host in table.get("virtual_hosts", ()):
                for route in host.get("routes", ()):
                    if "route" in route:
                        yield f"{host.get('name', '')} in {table.get('name', '')}", route["route"]

    def domains(self) -> set[str]:
        """Those that a table leads from, but for the one that stands for all."""
        hosts = [host for table in self.tables for host in table.get("virtual_hosts", ())]
        return {domain for host in hosts for domain in host.get("domains", ())} - {"*"}

    def pods(self) -> list[Message]:
        return [cluster for cluster in self.clusters if ":" not in cluster.get("name", "")]

    def secured(self) -> list[Secured]:
        """Filter chains that speak TLS, over TCP or QUIC."""
        found = []
        for listener in self.listeners:
            for chain in chains(listener):
                socket = chain.get("transport_socket", NOTHING).get("typed_config", NOTHING)
                kind = socket.get("@type", "")
                if kind.endswith("DownstreamTlsContext"):
                    found.append(Secured(listener, chain, socket, socket, quic=False))
                elif kind.endswith("QuicDownstreamTransport"):
                    context = socket.get("downstream_tls_context", NOTHING)
                    found.append(Secured(listener, chain, context, socket, quic=True))
        return found

    def tls(self) -> list[tuple[Message, Message]]:
        """Filter chains that speak TLS over TCP, each with its DownstreamTlsContext."""
        return [(one.chain, one.context) for one in self.secured() if not one.quic]

    def quic(self) -> list[Message]:
        return [listener for listener in self.listeners if "udp_listener_config" in listener]

    def tcp(self) -> list[Message]:
        return [listener for listener in self.listeners if "udp_listener_config" not in listener]


def managers_of(chain: Message) -> Iterator[Message]:
    for each in chain.get("filters", ()):
        if each.get("typed_config", NOTHING).get("@type", "").endswith("HttpConnectionManager"):
            yield each["typed_config"]


def chains(listener: Message) -> list[Message]:
    default = [listener["default_filter_chain"]] if "default_filter_chain" in listener else []
    return [*listener.get("filter_chains", ()), *default]


def seconds(value: object) -> float | None:
    """Of a duration such as ``300s``; None when it isn't there."""
    return float(value.removesuffix("s")) if isinstance(value, str) else None


def from_dump(dump: object) -> Config:
    """Raises LintError when it is no configuration dump, or one without a bootstrap or without listeners."""
    if not isinstance(dump, dict) or not isinstance(dump.get("configs"), list):
        raise LintError("not a configuration dump: it has no `configs`; take it from Envoy's admin at /config_dump")
    bootstrap: Message = NOTHING
    listeners: list[Message] = []
    clusters: list[Message] = []
    tables: list[Message] = []
    rejected: list[str] = []
    for part in dump["configs"]:
        rejected += _rejected(part)
        bootstrap = part.get("bootstrap", bootstrap)
        listeners += [each["listener"] for each in part.get("static_listeners", ()) if "listener" in each]
        for each in part.get("dynamic_listeners", ()):
            if "listener" in (state := each.get("active_state", NOTHING)):
                listeners.append(state["listener"])
        for kind in ("static_clusters", "dynamic_active_clusters"):
            clusters += [each["cluster"] for each in part.get(kind, ()) if "cluster" in each]
        for each in part.get("dynamic_route_configs", ()):
            if "route_config" in each:
                tables.append(each["route_config"])
    if not bootstrap or not listeners:
        raise LintError("the configuration dump has no bootstrap or no listeners: is it of one resource only?")
    build = bootstrap.get("node", NOTHING).get("user_agent_build_version", NOTHING).get("version", NOTHING)
    version = (int(build.get("major_number", 0)), int(build.get("minor_number", 0))) if build else ()
    read = Config(bootstrap, tuple(listeners), tuple(clusters), tuple(tables), version, tuple(rejected))
    return replace(read, hosts=_hosts(dump["configs"], read))


def _rejected(part: Message) -> Iterator[str]:
    """Of one kind of resources: what has an error, and the listeners that were never served."""
    for kind, entries in part.items():
        for each in entries if isinstance(entries, list) else ():
            if not isinstance(each, dict):
                continue
            if "error_state" in each:
                why = each["error_state"].get("details") or "it doesn't say why"
                yield f"{each.get('name') or kind.removeprefix('dynamic_')} was rejected: {why}"
            elif kind == "dynamic_listeners" and "active_state" not in each and "warming_state" in each:
                yield f"{each.get('name')} waits for something, and isn't served"


def _hosts(parts: list[Message], read: Config) -> dict[str, tuple[str, ...]]:
    """The host names of the certificates that the listeners name; those on demand may be many."""
    wanted = {name for one in read.secured() for name in secrets_of(one.context)}
    found = {}
    for part in parts:
        for kind in ("static_secrets", "dynamic_active_secrets"):
            for each in part.get(kind, ()):
                if (name := each.get("name")) in wanted and (names := _names(each.get("secret", NOTHING))) is not None:
                    found[name] = names
    return found


def secrets_of(context: Message) -> list[str]:
    """The secrets that a chain always has, by name: the service's certificate."""
    common = context.get("common_tls_context", NOTHING)
    return [each.get("name", "") for each in common.get("tls_certificate_sds_secret_configs", ())]


def _names(secret: Message) -> tuple[str, ...] | None:
    """None when there is no certificate in it that can be read."""
    chain = secret.get("tls_certificate", NOTHING).get("certificate_chain", NOTHING)
    try:
        pem = (
            str(chain["inline_string"]).encode()
            if "inline_string" in chain
            else base64.b64decode(chain["inline_bytes"])
        )
        (leaf, *_) = x509.load_pem_x509_certificates(pem)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return tuple(name.lower() for name in names.get_values_for_type(x509.DNSName))
    except (KeyError, ValueError, binascii.Error, x509.ExtensionNotFound):
        return None


_BY_JSON = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def snake(value: Any) -> Any:
    """JSON of protobuf's own spelling with the names that Envoy's dump has."""
    if isinstance(value, dict):
        return {_snake_name(key): snake(part) for key, part in value.items()}
    return [snake(part) for part in value] if isinstance(value, list) else value


def _snake_name(key: str) -> str:
    return _BY_JSON.sub("_", key).lower() if key[:1].islower() and key.isalnum() else key
