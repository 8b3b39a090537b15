"""Follows the publishes that are under way; each becomes spans when all Envoys have it, or when it takes too long."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Protocol

from xds.protocol.stream import Stream
from xds.receipt import Nack, Publish, Receipt
from xds.traces.spans import Begun, Span, spans_of

PATIENCE = 60.0
"""Seconds after which a publish is handed over though Envoys lack it."""
HELD = 1_000
"""Changes of which it is remembered when they were held."""
RELEASED = 20
"""Of what is released with one publish, changes that have a trace each."""


class Exporter(Protocol):
    """Where spans go: `xds.traces.otel.Otlp`."""

    def export(self, span: Span, offset: float) -> None:
        """``offset``: what makes the span's times seconds since 1970."""

    def close(self) -> None: ...


@dataclass(slots=True)
class _Open:
    publish: Publish
    begun: list[Begun] = field(default_factory=list)
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
        self._held: dict[tuple[str, int], float] = {}

    def told(self, event: str, about: Receipt | Publish | Nack | None, node: str) -> None:
        """The receipts' listener."""
        if isinstance(about, Receipt):
            if event == "held":
                self._held[about.epoch, about.revision] = self._clock()
                while len(self._held) > HELD:
                    del self._held[next(iter(self._held))]
            elif event == "released" and about.publish is not None:
                self._released(about, about.publish)
        elif isinstance(about, Publish) and event == "published":
            self._late()
            for name, received in (("change", about.received), ("snapshot", about.snapshot)):
                if received is not None and about.pending:
                    self._opened(about).begun.append(Begun(name, about.revision, received))
        elif isinstance(about, Publish) and event == "complete" and (opened := self._open.pop(about.mark, None)):
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

    def _released(self, receipt: Receipt, publish: Publish) -> None:
        """It goes out, with a publish that is still to be taken or with one that all have."""
        held, released = self._held.pop((receipt.epoch, receipt.revision), None), self._clock()
        if held is not None and publish.at > held:
            released = min(released, publish.at)  # it is told a moment later
        begun = Begun(receipt.kind, receipt.revision, receipt.received, held, released)
        if publish.completed is not None:
            self._hand_over(_Open(publish, [begun]))
        elif len(of_it := self._opened(publish).begun) < RELEASED:
            of_it.append(begun)

    def _opened(self, publish: Publish) -> _Open:
        return self._open.setdefault(publish.mark, _Open(publish))

    def _late(self) -> None:
        now = self._clock()
        while self._open and (first := next(iter(self._open.values()))).publish.at < now - PATIENCE:
            self._hand_over(self._open.pop(first.publish.mark))

    def _hand_over(self, opened: _Open) -> None:
        now = self._clock()
        for begun in opened.begun:
            span = spans_of(opened.publish, begun, opened.sent, self._name_of, self._envoys, now)
            self._exporter.export(span, self._wall() - now)
