"""A configuration dump as the rules read it: bootstrap, listeners and clusters as plain values, names in snake case.

Source: envoy.admin.v3.ConfigDump, as Envoy's ``/config_dump`` gives it. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from xds.errors import LintError

Message = Mapping[str, Any]
"""One of Envoy's messages as JSON. An empty one stands for one that isn't there: all defaults."""

NOTHING: Message = {}


@dataclass(frozen=True, slots=True)
class Config:
    """``version``: Envoy's, such as (1, 40), or () when the dump doesn't say."""

    bootstrap: Message = field(default_factory=dict)
    listeners: tuple[Message, ...] = ()
    clusters: tuple[Message, ...] = ()
    tables: tuple[Message, ...] = ()
    version: tuple[int, ...] = ()

    def managers(self, listener: Message) -> Iterator[Message]:
        """The HTTP connection managers of a listener."""
        for chain in chains(listener):
            for each in chain.get("filters", ()):
                if each.get("typed_config", NOTHING).get("@type", "").endswith("HttpConnectionManager"):
                    yield each["typed_config"]

    def every_manager(self) -> list[Message]:
        return [manager for listener in self.listeners for manager in self.managers(listener)]

    def serving(self) -> list[Message]:
        """The managers that lead to pods: all whose routes come from elsewhere."""
        return [one for one in self.every_manager() if "route_config" not in one]

    def pods(self) -> list[Message]:
        return [cluster for cluster in self.clusters if ":" not in cluster.get("name", "")]

    def tls(self) -> list[tuple[Message, Message]]:
        """Filter chains that speak TLS over TCP, each with its DownstreamTlsContext."""
        found = []
        for listener in self.listeners:
            for chain in chains(listener):
                context = chain.get("transport_socket", NOTHING).get("typed_config", NOTHING)
                if context.get("@type", "").endswith("DownstreamTlsContext"):
                    found.append((chain, context))
        return found

    def quic(self) -> list[Message]:
        return [listener for listener in self.listeners if "udp_listener_config" in listener]

    def tcp(self) -> list[Message]:
        return [listener for listener in self.listeners if "udp_listener_config" not in listener]


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
    for part in dump["configs"]:
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
    return Config(bootstrap, tuple(listeners), tuple(clusters), tuple(tables), version)


_BY_JSON = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def snake(value: Any) -> Any:
    """JSON of protobuf's own spelling with the names that Envoy's dump has."""
    if isinstance(value, dict):
        return {_snake_name(key): snake(part) for key, part in value.items()}
    return [snake(part) for part in value] if isinstance(value, list) else value


def _snake_name(key: str) -> str:
    return _BY_JSON.sub("_", key).lower() if key[:1].islower() and key.isalnum() else key
