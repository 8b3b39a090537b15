"""The rows that a process holds for all listeners together: admin, overload, runtime, its end."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

from xds.lint.config import NOTHING, Config, Message, seconds
from xds.lint.rule import Rule, at, first, label, without_http3

_HEAP = "envoy.resource_monitors.fixed_heap"
_CONNECTIONS = "envoy.resource_monitors.global_downstream_max_connections"
_ACTION = "envoy.overload_actions."
_LEAST = 0.5
"""What sets in before the heap is half full sets in on an ordinary day."""
_MIB, _GIB = 1 << 20, 1 << 30
_HEAP_LEAST, _HEAP_MOST = 64 * _MIB, 256 * _GIB
"""The dump doesn't say how much memory there is: no edge has less, or more, than this."""
_FILES = 1 << 20
"""The most that Linux gives one process (fs.nr_open); a connection takes two, with that to the pod."""


def _taken(config: Config) -> str:
    return f"{config.rejected[0]}; what was there before goes on" if config.rejected else ""


def _admin(config: Config) -> str:
    address = at(config.bootstrap, "admin.address")
    if address is None:
        return ""
    socket = at(config.bootstrap, "admin.address.socket_address.address")
    if at(config.bootstrap, "admin.address.pipe") is not None or _loopback(socket):
        return ""
    return f"the admin interface is at {socket}"


def _loopback(address: object) -> bool:
    try:
        return ipaddress.ip_address(str(address)).is_loopback
    except ValueError:
        return False


def _overload(config: Config) -> Message:
    found: Message = config.bootstrap.get("overload_manager", NOTHING)
    return found


def _refresh(config: Config) -> str:
    value = _overload(config).get("refresh_interval")
    return "" if value == "0.250s" or value == "0.25s" else f"refresh_interval is {value or 'not set: 1 s'}"


def _monitor(config: Config, name: str) -> Message:
    monitors: list[dict[str, Any]] = _overload(config).get("resource_monitors", [])
    return next((each.get("typed_config", NOTHING) for each in monitors if each.get("name") == name), NOTHING)


def _heap(config: Config) -> str:
    # A string in JSON, as all 64-bit numbers are.
    limit = int(_monitor(config, _HEAP).get("max_heap_size_bytes", 0))
    if not limit:
        return "no fixed_heap monitor"
    if not _HEAP_LEAST <= limit <= _HEAP_MOST:
        return f"max_heap_size_bytes is {limit:,}: no machine's memory is meant by that"
    return ""


def _connections(config: Config) -> str:
    limit = int(_monitor(config, _CONNECTIONS).get("max_active_downstream_connections", 0))
    if not limit:
        return "no global_downstream_max_connections monitor"
    if limit > _FILES // 2:
        return f"{limit:,} connections: a process has no files for more than {_FILES // 2:,}, with those to pods"
    return (
        "" if at(config.bootstrap, "admin.ignore_global_conn_limit") else "the admin interface is under the limit too"
    )


def _triggers(config: Config, kind: str, name: str) -> list[Message]:
    actions: list[dict[str, Any]] = _overload(config).get(kind, [])
    found = [trigger for each in actions if each.get("name") == name for trigger in each.get("triggers", ())]
    return [trigger for trigger in found if trigger.get("name") == _HEAP]


def _threshold(kind: str, name: str, most: float) -> Callable[[Config], str]:
    def broken(config: Config) -> str:
        triggers = _triggers(config, kind, name)
        # What is zero isn't in the dump.
        values = [float(trigger["threshold"].get("value", 0)) for trigger in triggers if "threshold" in trigger]
        if not values:
            return f"{name} has no threshold of the heap"
        return "" if _LEAST <= min(values) <= most else f"{name} begins at {min(values)}, not {most}"

    return broken


def _scaled(config: Config) -> str:
    name = _ACTION + "reduce_timeouts"
    scaled = [trigger["scaled"] for trigger in _triggers(config, "actions", name) if "scaled" in trigger]
    if not scaled:
        return f"{name} isn't scaled with the heap"
    for each in scaled:
        begin, end = float(each.get("scaling_threshold", 0)), float(each.get("saturation_threshold", 0))
        if not _LEAST <= begin <= 0.85 or not begin < end <= 0.95:
            return f"{name} goes from {begin} to {end} of the heap, not from 0.85 to 0.95"
    actions: list[dict[str, Any]] = _overload(config).get("actions", [])
    factors = [
        factor.get("timer")
        for each in actions
        if each.get("name") == name
        for factor in each.get("typed_config", NOTHING).get("timer_scale_factors", ())
        if _shrinks(factor)
    ]
    timers = {"HTTP_DOWNSTREAM_CONNECTION_IDLE", "HTTP_DOWNSTREAM_STREAM_IDLE", "TRANSPORT_SOCKET_CONNECT"}
    missing = sorted(timers - set(factors))
    return f"not scaled: {', '.join(missing)}" if missing else ""


def _shrinks(factor: Message) -> bool:
    """At least to half of what it was, or to a minute."""
    least, scale = seconds(factor.get("min_timeout")), at(factor, "min_scale.value")
    return (least is not None and least <= 60) or (isinstance(scale, int | float) and scale <= 50)


def _runtime(config: Config) -> dict[str, object]:
    """All static layers together; the keys may be nested or dotted."""
    found: dict[str, object] = {}

    def flatten(prefix: str, values: Message) -> None:
        for key, value in values.items():
            if isinstance(value, dict):
                flatten(f"{prefix}{key}.", value)
            else:
                found[prefix + key] = value

    for layer in config.bootstrap.get("layered_runtime", NOTHING).get("layers", ()):
        flatten("", layer.get("static_layer", NOTHING))
    return found


def _number(config: Config, key: str, most: int) -> str:
    value = _runtime(config).get(key)
    if not isinstance(value, int | float):
        return f"runtime {key} isn't set"
    return "" if 0 < value <= most else f"runtime {key} is {value:g}, not at most {most}"


def _io_cycle(config: Config) -> str:
    return _number(config, "http.max_requests_per_io_cycle", 10)


def _premature(config: Config) -> str:
    return first(
        _number(config, "overload.premature_reset_total_stream_count", 500),
        _number(config, "overload.premature_reset_min_stream_lifetime_seconds", 60),
    )


def _end(config: Config) -> str:
    """What `healthcheck/fail` needs to close connections. Who calls it, and how long is waited, no dump says."""
    if at(config.bootstrap, "admin.address") is None:
        return "there is no admin interface: nothing can begin the end"
    for listener in config.listeners:
        if listener.get("drain_type") == "MODIFY_ONLY":
            return f"listener {label(listener)} keeps its connections when the process is said to be unhealthy"
    return ""


RULES = (
    Rule(
        "taken",
        "What is judged here is the newest: Envoy rejected nothing",
        "see error_state in /config_dump, and the newest NACK in the control plane's log",
        _taken,
    ),
    Rule("admin", "Admin on loopback only", "set admin.address to 127.0.0.1 or a pipe", _admin),
    Rule("overload-refresh", "Overload manager, refresh 0.25 s", "set overload_manager.refresh_interval", _refresh),
    Rule("heap-limit", "fixed_heap", "add the resource monitor fixed_heap with the memory Envoy may have", _heap),
    Rule(
        "reduce-timeouts",
        "Scaled time-outs under pressure",
        "add the action reduce_timeouts with `scaled` and its timers",
        _scaled,
    ),
    Rule(
        "keep-alive-off",
        "HTTP keep-alive off at 0.92",
        "add the action disable_http_keepalive",
        _threshold("actions", _ACTION + "disable_http_keepalive", 0.92),
    ),
    Rule(
        "shrink-heap",
        "Shrink heap at 0.95",
        "add the action shrink_heap",
        _threshold("actions", _ACTION + "shrink_heap", 0.95),
    ),
    Rule(
        "no-accepts",
        "No new TCP accepts at 0.95",
        "add the load-shed point tcp_listener_accept",
        _threshold("loadshed_points", "envoy.load_shed_points.tcp_listener_accept", 0.95),
    ),
    Rule(
        "no-http3-connections",
        "No new HTTP/3 connections at 0.96",
        "add the action stop_accepting_connections: the load-shed point is for TCP alone",
        _threshold("actions", _ACTION + "stop_accepting_connections", 0.96),
        without_http3,
    ),
    Rule(
        "stop-requests",
        "Stop accepting requests at 0.98",
        "add the action stop_accepting_requests",
        _threshold("actions", _ACTION + "stop_accepting_requests", 0.98),
    ),
    Rule(
        "connection-limit",
        "Global limit on downstream connections by its resource monitor",
        "add the monitor global_downstream_max_connections, and admin.ignore_global_conn_limit",
        _connections,
    ),
    Rule("io-cycle", "http.max_requests_per_io_cycle", "set it to 1 in a static layer of the runtime", _io_cycle),
    Rule(
        "premature-resets",
        "The premature-reset runtime keys",
        "set overload.premature_reset_total_stream_count and …min_stream_lifetime_seconds in the runtime",
        _premature,
    ),
    Rule(
        "graceful-end",
        "Connections are drained before the process ends",
        "leave drain_type of every listener at its default, and end Envoy by envoy/run.sh",
        _end,
    ),
)
