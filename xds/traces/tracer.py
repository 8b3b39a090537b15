"""Follows the publishes that are under way; each becomes spans when all Envoys have it, or when it takes too long."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Protocol

from xds.protocol.stream import Stream
from xds.receipt import Nack, Publish, Receipt
from xds.traces.spans import Span, spans_of

PATIENCE = 60.0
"""Seconds after which a publish is handed over though Envoys lack it."""


class Exporter(Protocol):
    """Where spans go: `xds.traces.otel.Otlp`."""

    def export(self, span: Span, offset: float) -> None:
        """``offset``: what makes the span's times seconds since 1970."""

    def close(self) -> None: ...


@dataclass(slots=True)
class _Open:
    publish: Publish
    received: float
    sent: dict[int, float] = field(default_factory=dict)


class Tracer:
    """`told` is a listener of the receipts, `acked` is told of each ACK. ``name_of`` gives an Envoy's name; ``envoys``
    bounds the Envoys of a trace."""

    def __init__(
        self,
        exporter: Exporter,
        name_of: Callable[[int], str],
        envoys: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._exporter = exporter
        self._name_of = name_of
        self._envoys = envoys
        self._clock = clock
        self._wall = wall
        self._open: dict[int, _Open] = {}

    def told(self, event: str, about: Receipt | Publish | Nack | None, node: str) -> None:
        """The receipts' listener."""
        if not isinstance(about, Publish):
            return
        if event == "published":
            self._late()
            if about.received is not None and about.pending:
                self._open[about.mark] = _Open(about, about.received)
        elif event == "complete" and (opened := self._open.pop(about.mark, None)):
            self._hand_over(opened)

    def acked(self, publish: Publish, key: Hashable, at: float) -> None:
        """The last Envoy of ``publish`` has all of it."""
        opened = self._open.get(publish.mark)
        if opened is not None and isinstance(key, Stream) and len(opened.sent) < 10 * self._envoys:
            opened.sent[publish.numbers[-1]] = key.sent_at

    def close(self) -> None:
        """Hands over what is left, and waits until all is sent or given up."""
        for opened in self._open.values():
            self._hand_over(opened)
        self._open.clear()
        self._exporter.close()

    def _late(self) -> None:
        now = self._clock()
        while self._open and (first := next(iter(self._open.values()))).publish.at < now - PATIENCE:
            self._hand_over(self._open.pop(first.publish.mark))

    def _hand_over(self, opened: _Open) -> None:
        now = self._clock()
        span = spans_of(opened.publish, opened.received, opened.sent, self._name_of, self._envoys, now)
        self._exporter.export(span, self._wall() - now)
