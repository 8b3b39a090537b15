"""What is handed over of a publish that all Envoys have, that one rejects, or that one never answers."""

from __future__ import annotations

from test_receipts import Fleet

from xds.protocol.stream import Stream
from xds.receipt import Nack, Publish, Receipt
from xds.receipts import Receipts
from xds.traces.spans import Span
from xds.traces.tracer import PATIENCE, RELEASED, Tracer


class Traced(Fleet):
    """A fleet whose publishes are traced, without a collector."""

    def __init__(self, *envoys: str, most: int = 50) -> None:
        super().__init__(*envoys)
        self.spans: list[Span] = []
        self.receipts = Receipts(tell=self._tell, acked=self._acked)
        self.tracer = Tracer(self, self.receipts.name_of, most, clock=lambda: self.now, wall=lambda: self.now + 1e9)
        self.keys = {name: Stream(lambda kind: {}) for name in envoys}
        for name, key in self.keys.items():
            self.receipts.joined(key, name, self.tick())
            self.receipts.reached(key, 0, self.tick())

    def export(self, span: Span, offset: float) -> None:
        assert offset == 1e9
        self.spans.append(span)

    def close(self) -> None:
        pass

    def has(self, name: str, mark: int) -> None:
        if hasattr(self, "keys"):
            self.keys[name].sent_at = self.tick()
            self.receipts.reached(self.keys[name], mark, self.tick())

    def _tell(self, event: str, about: Receipt | Publish | Nack | None, node: str) -> None:
        if hasattr(self, "tracer"):
            self.tracer.told(event, about, node)

    def _acked(self, publish: Publish, key: object, at: float) -> None:
        self.tracer.acked(publish, key, at)


def test_a_change_that_all_have_is_one_trace_with_a_span_for_each_envoy() -> None:
    fleet = Traced("a", "b")
    received = fleet.received(7).received
    fleet.published(7, mark=1)
    at = fleet.now
    fleet.has("a", 1)
    assert fleet.spans == []
    fleet.has("b", 1)
    (change,) = fleet.spans
    publish, first, second = change.children
    assert (change.start, change.end, change.attributes["revision"], change.error) == (received, fleet.now, 7, "")
    assert (publish.start, publish.end) == (received, at)
    assert [one.attributes["node"] for one in (first, second)] == ["a", "b"]
    assert [(one.start, one.moments, one.end) for one in (first, second)] == [
        (at, {"sent": at + 1}, at + 2),
        (at, {"sent": at + 3}, at + 4),
    ]


def test_of_very_many_envoys_the_last_ones_are_shown() -> None:
    names = [f"e{number}" for number in range(20)]
    fleet = Traced(*names, most=3)
    fleet.received(1)
    fleet.published(1, mark=1)
    for name in names:
        fleet.has(name, 1)
    (change,) = fleet.spans
    assert [one.attributes["node"] for one in change.children[1:]] == ["e17", "e18", "e19"]


def test_an_envoy_that_rejects_is_shown_with_its_reason() -> None:
    fleet = Traced("a", "b")
    fleet.received(1)
    fleet.published(1, mark=1)
    fleet.has("a", 1)
    fleet.receipts.refused(fleet.keys["b"], 1, "route", "no such filter", fleet.tick())
    fleet.tracer.close()
    (change,) = fleet.spans
    assert change.error == "1 Envoys didn't ACK it"
    rejecting = change.children[-1]
    assert (rejecting.attributes["node"], rejecting.error) == ("b", "no such filter")
    assert set(rejecting.moments) == {"nack"}


def test_a_change_that_an_envoy_never_answers_is_handed_over_all_the_same() -> None:
    fleet = Traced("a")
    fleet.received(1)
    fleet.published(1, mark=1)
    fleet.now += PATIENCE
    fleet.received(2)
    fleet.published(2, mark=2)
    (change,) = fleet.spans
    assert (change.attributes["revision"], change.error) == (1, "1 Envoys didn't ACK it")


def test_what_carries_no_change_of_gds_is_no_trace() -> None:
    fleet = Traced("a")
    fleet.published(1, mark=1)
    fleet.has("a", 1)
    assert fleet.spans == []


def test_a_change_that_was_held_ends_at_the_last_ack_after_its_release() -> None:
    fleet = Traced("a", "b")
    received = fleet.received(7)
    fleet.receipts.hold(received)
    held = fleet.tick()
    fleet.now += 600
    fleet.published(7, mark=1)
    published = fleet.now
    fleet.has("a", 1)
    fleet.receipts.released()  # it is told a moment after the publish
    assert fleet.spans == []
    fleet.has("b", 1)
    (change,) = fleet.spans
    assert (change.name, change.start, change.end, change.attributes["revision"]) == (
        "change",
        received.received,
        fleet.now,
        7,
    )
    assert change.moments == {"held": held - 1, "released": published}
    assert [one.name for one in change.children] == ["publish", "envoy", "envoy"]


def test_a_change_that_is_released_after_all_have_its_publish_is_a_trace_all_the_same() -> None:
    fleet = Traced("a")
    fleet.receipts.hold(fleet.received(7))
    fleet.published(7, mark=1)
    fleet.has("a", 1)
    assert fleet.spans == []
    last = fleet.now
    fleet.receipts.released()
    (change,) = fleet.spans
    assert (change.end, [one.name for one in change.children]) == (last, ["publish", "envoy"])


def test_what_was_held_and_is_at_the_edge_already_ends_with_its_release() -> None:
    fleet = Traced("a")
    fleet.published(6, mark=1)
    fleet.has("a", 1)
    receipt = fleet.received(7)
    fleet.receipts.hold(receipt)
    fleet.receipts.epoch, fleet.receipts.revision = "E", 7
    fleet.now += 60
    fleet.receipts.released()
    (change,) = fleet.spans
    assert (change.start, change.end, change.children) == (receipt.received, fleet.now, ())


def test_of_very_many_that_are_released_together_the_first_have_a_trace() -> None:
    fleet = Traced("a")
    for revision in range(RELEASED + 30):
        fleet.receipts.hold(fleet.received(revision))
    fleet.published(RELEASED + 30, mark=1)
    fleet.receipts.released()
    fleet.has("a", 1)
    assert [one.attributes["revision"] for one in fleet.spans] == [*range(RELEASED)]


def test_a_snapshot_is_a_trace_of_its_own() -> None:
    fleet = Traced("a")
    fleet.receipts.received(Receipt("E", 7, "snapshot", 100, (), fleet.tick(), 1e9))
    received = fleet.now
    fleet.published(7, mark=1)
    fleet.has("a", 1)
    (snapshot,) = fleet.spans
    assert (snapshot.name, snapshot.start, snapshot.end) == ("snapshot", received, fleet.now)
    assert [one.name for one in snapshot.children] == ["publish", "envoy"]
