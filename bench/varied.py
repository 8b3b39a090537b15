"""The generated configuration, changed in one place: what each of its settings costs per request.

``python -m bench.varied VARIANT PROBE …`` is the control plane of `bench.probed` with that change; `bench.knobs`
measures them. A variant that names something in Envoy's bootstrap has a text to replace there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.core.v3 import HttpProtocolOptionsHeadersWithUnderscoresAction
from envoy_data_plane.envoy.config.listener.v3 import Listener, ListenerConnectionBalanceConfig
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerPathWithEscapedSlashesAction,
    HttpConnectionManagerServerHeaderTransformation,
)
from envoy_data_plane.envoy.extensions.http.early_header_mutation.header_mutation.v3 import (
    HeaderMutation as EarlyHeaderMutation,
)

from xds.resources.hosts import HOSTS
from xds.resources.rescope import FILTER as RESCOPING

_ROUTER = "envoy.filters.http.router"


@dataclass(frozen=True, slots=True)
class Variant:
    """``what`` is changed, and how: the https listener, its connection manager, its router, or the bootstrap's text."""

    what: str
    listener: Callable[[Listener], None] | None = None
    manager: Callable[[HttpConnectionManager], None] | None = None
    router: Callable[[Router], None] | None = None
    cluster: Callable[[Cluster], None] | None = None
    bootstrap: Callable[[str], str] = lambda text: text
    concurrency: int = 2


def _setting(**values: object) -> Callable[[object], None]:
    def change(message: object) -> None:
        for name, value in values.items():
            setattr(message, name, value)

    return change


def _h2(**values: object) -> Callable[[HttpConnectionManager], None]:
    return lambda manager: _setting(**values)(manager.http2_protocol_options)


def _paths_as_they_are(manager: HttpConnectionManager) -> None:
    manager.normalize_path = manager.merge_slashes = False
    manager.path_with_escaped_slashes_action = HttpConnectionManagerPathWithEscapedSlashesAction.KEEP_UNCHANGED


def _underscores(manager: HttpConnectionManager) -> None:
    assert manager.common_http_protocol_options is not None
    allow = HttpProtocolOptionsHeadersWithUnderscoresAction.ALLOW
    manager.common_http_protocol_options.headers_with_underscores_action = allow


def _without_filters(*names: str) -> Callable[[HttpConnectionManager], None]:
    def change(manager: HttpConnectionManager) -> None:
        kept = [held for held in manager.http_filters if held.name not in names]
        if len(kept) == len(manager.http_filters):
            raise SystemExit(f"the manager has none of the filters {', '.join(names)}")
        manager.http_filters = kept

    return change


def _forged_headers_stay(manager: HttpConnectionManager) -> None:
    held = manager.early_header_mutation_extensions[0].typed_config
    assert held is not None
    early = EarlyHeaderMutation.parse(held.value)
    early.mutations = [each for each in early.mutations if each.remove_on_match is None]
    held.value = bytes(early)


def _without(start: str, end: str) -> Callable[[str], str]:
    """The bootstrap without what stands from ``start`` up to ``end``."""

    def change(text: str) -> str:
        before, found, rest = text.partition(start)
        if not found:
            raise SystemExit(f"the bootstrap has no {start!r}")
        return before + end + rest.partition(end)[2]

    return change


def _io_cycle(requests: int) -> Callable[[str], str]:
    return lambda text: text.replace("max_requests_per_io_cycle: 1\n", f"max_requests_per_io_cycle: {requests}\n")


def _adding(text: str) -> Callable[[str], str]:
    return lambda bootstrap: bootstrap + text


_NO_TIMES = """
stats_config:
  stats_matcher:
    exclusion_list:
      patterns:
        - suffix: _ms
        - suffix: downstream_rq_time
        - suffix: upstream_rq_time
"""


def _bare(manager: HttpConnectionManager) -> None:
    manager.http_filters = [held for held in manager.http_filters if held.name == _ROUTER]
    manager.generate_request_id = False
    manager.access_log, manager.upgrade_configs, manager.local_reply_config = [], [], None
    manager.skip_xff_append = True
    manager.strip_any_host_port = manager.strip_trailing_host_dot = False
    manager.stream_idle_timeout = manager.request_headers_timeout = timedelta(0)
    _forged_headers_stay(manager)
    _paths_as_they_are(manager)
    _underscores(manager)


_NO_STATS = "\nstats_config: { stats_matcher: { reject_all: true } }\n"
_EXACT = ListenerConnectionBalanceConfig(exact_balance={})  # type: ignore[arg-type]

VARIANTS = {
    "same": Variant("nothing: the noise of the measurement"),
    "io-cycle-off": Variant("no http.max_requests_per_io_cycle", bootstrap=_io_cycle(0)),
    "io-cycle-4": Variant("http.max_requests_per_io_cycle: 4", bootstrap=_io_cycle(4)),
    "io-cycle-10": Variant("http.max_requests_per_io_cycle: 10", bootstrap=_io_cycle(10)),
    "no-request-id": Variant("generate_request_id: false", manager=_setting(generate_request_id=False)),
    "no-envoy-headers": Variant("router: suppress_envoy_headers", router=_setting(suppress_envoy_headers=True)),
    "no-dynamic-stats": Variant("router: dynamic_stats: false", router=_setting(dynamic_stats=False)),
    "no-stats": Variant("stats_matcher: reject_all", bootstrap=_adding(_NO_STATS)),
    "lean": Variant(
        "no request id, no x-envoy-* headers, no dynamic statistics",
        manager=_setting(generate_request_id=False),
        router=_setting(suppress_envoy_headers=True, dynamic_stats=False),
    ),
    "server-header": Variant(
        "the pod's server header goes through",
        manager=_setting(server_header_transformation=HttpConnectionManagerServerHeaderTransformation.PASS_THROUGH),
    ),
    "raw-paths": Variant("no normalize_path, merge_slashes, escaped slashes", manager=_paths_as_they_are),
    "underscores": Variant("headers with underscores allowed", manager=_underscores),
    "no-lua": Variant("no Lua filter in the list (it is disabled there)", manager=_without_filters(RESCOPING)),
    "no-host-check": Variant("no check of the host", manager=_without_filters(HOSTS)),
    "no-added-headers": Variant("no alt-svc added to answers", manager=_without_filters("pointsman.response-headers")),
    "forged-headers": Variant("headers of ours aren't taken out of requests", manager=_forged_headers_stay),
    "no-access-log": Variant("unknown hosts aren't counted", manager=_setting(access_log=[])),
    "no-local-replies": Variant("local replies as Envoy's", manager=_setting(local_reply_config=None)),
    "no-forwarded-proto": Variant("no use_remote_address", manager=_setting(use_remote_address=False)),
    "no-timers": Variant(
        "no stream idle and no request header time-out",
        manager=_setting(stream_idle_timeout=timedelta(0), request_headers_timeout=timedelta(0)),
    ),
    "no-forwarded-for": Variant("skip_xff_append", manager=_setting(skip_xff_append=True)),
    "no-upgrades": Variant("no websocket upgrades", manager=_setting(upgrade_configs=[])),
    "host-as-it-is": Variant(
        "no strip_any_host_port, no strip_trailing_host_dot",
        manager=_setting(strip_any_host_port=False, strip_trailing_host_dot=False),
    ),
    "buffers-1m": Variant(
        "connection buffers of 1 MiB, not 32 KiB",
        listener=_setting(per_connection_buffer_limit_bytes=1 << 20),
        cluster=_setting(per_connection_buffer_limit_bytes=1 << 20),
    ),
    "no-overload": Variant("no overload manager", bootstrap=_without("overload_manager:\n", "layered_runtime:\n")),
    "no-times": Variant("no histograms of time", bootstrap=_adding(_NO_TIMES)),
    "hpack-0": Variant("HPACK without a dynamic table", manager=_h2(hpack_table_size=0)),
    "oghttp2": Variant("HTTP/2 by oghttp2", manager=_h2(use_oghttp2_codec=True)),
    "nghttp2": Variant("HTTP/2 by nghttp2", manager=_h2(use_oghttp2_codec=False)),
    "exact-balance": Variant("connections balanced exactly", listener=_setting(connection_balance_config=_EXACT)),
    "bare": Variant(
        "nothing but TLS, scopes and the router: what all of the above cost together",
        manager=_bare,
        router=_setting(suppress_envoy_headers=True, dynamic_stats=False),
        bootstrap=lambda text: _adding(_NO_STATS)(_io_cycle(0)(text)),
    ),
    "one-thread": Variant("--concurrency 1", concurrency=1),
}


def changed(variant: Variant, listener: Listener) -> Listener:
    """The https listener with the variant's change in each of its filter chains."""
    if variant.listener is not None:
        variant.listener(listener)
    for chain in listener.filter_chains:
        wrapped = chain.filters[-1].typed_config
        assert wrapped is not None
        manager = HttpConnectionManager.parse(wrapped.value)
        if variant.manager is not None:
            variant.manager(manager)
        held = next(held for held in manager.http_filters if held.name == _ROUTER).typed_config
        assert held is not None
        router = Router.parse(held.value)
        if variant.router is not None:
            variant.router(router)
        held.value = bytes(router)
        wrapped.value = bytes(manager)
    return listener


def main() -> None:
    from bench import probed
    from xds.resources import edge
    from xds.resources.clusters import cluster
    from xds.resources.listeners import Edge, listening
    from xds.slices import Work

    name, path, *arguments = sys.argv[1:]
    variant = VARIANTS[name]

    def varied_listening(of: Edge, tables: int) -> Work[list[Listener]]:
        first, *rest = yield from listening(of, tables)
        return [changed(variant, first), *rest]

    def varied_cluster(*args: object, **kwargs: object) -> Cluster:
        made = cluster(*args, **kwargs)  # type: ignore[arg-type]
        if variant.cluster is not None:
            variant.cluster(made)
        return made

    for function, varied in (("listening", varied_listening), ("cluster", varied_cluster)):
        getattr(edge, function)  # it must be there, else nothing is varied
        setattr(edge, function, varied)
    probed.pointsman(probed.Probe(path), arguments)


if __name__ == "__main__":
    main()
