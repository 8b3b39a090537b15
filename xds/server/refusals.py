"""Everything that was refused at the xDS port: counted always, logged as often as a person can read."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Literal, get_args

import structlog

from xds.server.connections import peer_address
from xds.server.limits import TokenBucket

log = structlog.get_logger()

Kind = Literal["handshake", "revoked", "claim", "limit", "protocol"]
"""``handshake``: no, a foreign or an expired client certificate, or plaintext; gRPC doesn't tell them apart.
``protocol``: requests that break xDS."""

_QUIET = 60.0
_REMEMBERED = 4096
_LINES, _BURST = 1.0, 60
"""Lines a second, over all peers."""


@dataclass(slots=True)
class _Said:
    at: float
    more: int = 0


class Refusals:
    """``counts`` holds every kind from the start. To be used on one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.counts: Counter[Kind] = Counter(dict.fromkeys(get_args(Kind), 0))
        self._clock = clock
        self._said: dict[tuple[Kind, str, str], _Said] = {}
        self._lines = TokenBucket(_LINES, _BURST, clock())

    def note(self, kind: Kind, peer: str, reason: str, *, identity: str = "", node: str = "") -> None:
        """Logs ``xds.refused``; once a minute for each host, kind and identity, with ``more``: how many came between.

        ``peer`` is ``context.peer()``.
        """
        self.counts[kind] += 1
        now = self._clock()
        key = (kind, _host(peer), identity)
        said = self._said.get(key)
        if (said is not None and now - said.at < _QUIET) or not self._lines.take(now):
            if said is not None:
                said.more += 1
            return
        fields = {name: value for name, value in (("identity", identity), ("node", node)) if value}
        if said is not None and said.more:
            log.warning("xds.refused", kind=kind, peer=peer, reason=reason, **fields, more=said.more)
        else:
            log.warning("xds.refused", kind=kind, peer=peer, reason=reason, **fields)
        self._said.pop(key, None)  # the newest is last
        self._said[key] = _Said(now)
        if len(self._said) > _REMEMBERED:
            del self._said[next(iter(self._said))]


def _host(peer: str) -> str:
    """An IPv6 host by its /64: who has one has all of it."""
    address = peer_address(peer)
    if address is None:
        return peer.rpartition(":")[0]
    return str(ip_network(f"{address.host}/64", strict=False)) if ":" in address.host else address.host
