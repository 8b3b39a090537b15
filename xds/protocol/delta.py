"""One type on one delta stream: its requests, and its next response.

Sources: the xDS protocol, "Incremental xDS", "Resource version negotiation" and "ACK/NACK".
"""

from __future__ import annotations

from xds.protocol.held import compare
from xds.protocol.holdings import digest
from xds.protocol.messages import DeltaRequest, DeltaResponse
from xds.protocol.state import Settled
from xds.protocol.subscription import ALL, Batch, Subscription


class DeltaType(Subscription):
    def receive(self, request: DeltaRequest) -> Settled | None:
        """What the request ACKed or NACKed, if anything. Raises LimitError."""
        # A nonce that isn't in flight answers nothing, but what comes with it counts: a client may send it with a
        # change of its subscription at any time.
        settled = self.holdings.settle(request.nonce, request.error, self.wanted)
        if not self._began:
            self._begin(request)
        else:
            for name in request.subscribe:
                self._subscribe(name)
        for name in request.unsubscribe:
            self._unsubscribe(name)
        self._check_bound(len(self._names), "a subscription to")
        self._note()
        return settled

    def next_response(self, nonce: str, *, pushes: bool, removals: bool) -> DeltaResponse | None:
        """The next response, or None when there is nothing to say. ``pushes``: not only answers may be sent;
        ``removals``: nothing leads any more to what leaves."""
        batch = Batch(self._bounds.response_bytes)
        self._collect_due(batch, pushes=pushes, removals=removals)
        if not batch.versions and not self._must_answer:
            return None
        self._must_answer = self._must_answer and batch.full
        self._sent(nonce, batch.versions, digest(batch.versions))
        return DeltaResponse(self.kind.url, nonce, tuple(batch.resources), tuple(batch.removed))

    def _begin(self, request: DeltaRequest) -> None:
        self._began = True
        self._check_bound(len(request.initial_versions), "initial versions of")
        held = request.initial_versions
        found = compare(held, self._resources, self._published, wildcard=self.kind.wildcard)
        if self._spares:
            self._spared = dict.fromkeys(found.differing)
        for name in request.subscribe:
            if name in held and name != ALL and (name in self._spared or not self.kind.resent):
                self._names.add(name)
            elif name != ALL:
                self._subscribe(name)
        every = ALL in request.subscribe or not (request.subscribe or request.unsubscribe)
        if not (every and self.kind.wildcard) and not held.keys() <= self._names:
            held = {name: version for name, version in held.items() if name in self._names}
            self._spared = {name: None for name in self._spared if name in held}
        self.holdings.versions.begin(held)
        for name in found.differing:
            if name in held:
                self._push(name)
        if every and self.kind.wildcard:
            self._wildcard = self._must_answer = True
            for name in found.lacking:
                self._push(name)
        # A client that comes back and holds all of it already needs no answer; one that starts waits for one.
        self._must_answer = self._must_answer and not request.initial_versions

    def _subscribe(self, name: str) -> None:
        if name != ALL:
            self._names.add(name)
            self._answers[name] = None
        elif self.kind.wildcard:
            self._wildcard = True
            self._must_answer = True
            recalled, versions = self.holdings.recall(), self.holdings.versions
            news = [name for name, current in self._resources.items() if versions.get(name) != current.version]
            for existing in (*recalled, *news):
                self._push(existing)

    def _unsubscribe(self, name: str) -> None:
        if name == ALL:
            self._wildcard = self._must_answer = False
            self._drop_unwanted()
        elif name in self._names:
            self._names.discard(name)
            if self._wildcard:
                # It is still in the wildcard, but the client can't know: it is to be sent again, or told as removed.
                self._answers[name] = None
            else:
                self._drop(name)
