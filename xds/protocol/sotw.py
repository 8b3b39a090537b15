"""One type on one state-of-the-world stream: its requests, and its next response.

Sources: the xDS protocol, "Basic protocol overview", "Resource updates" and "ACK and resource type instance
version". Types of which a client may ask for all (`ResourceType.wildcard`) are always sent whole, since Envoy deletes
what a response doesn't hold; of the others only what changed or was newly asked for is sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from xds.protocol.holdings import Versions, digest
from xds.protocol.messages import SotwRequest, SotwResponse
from xds.protocol.state import Bounds, Settled
from xds.protocol.subscription import ALL, Batch, Subscription
from xds.resources.types import Resource, ResourceType


class SotwType(Subscription):
    def __init__(self, kind: ResourceType, resources: Mapping[str, Resource], bounds: Bounds) -> None:
        super().__init__(kind, resources, bounds)
        self._named = False
        self._shown: dict[str, Resource] = {}
        """What the last whole response held, of a type whose removals are held back: until then it goes on to hold
        what left the cache."""

    def receive(self, request: SotwRequest) -> Settled | None:
        """What the request ACKed or NACKed, if anything. Raises LimitError."""
        # A request with an older nonce is neither, but its names are the newest ones.
        settled = self.holdings.settle(request.nonce, request.error, self.wanted)
        returns = self.kind.held and not self._began and bool(request.version)
        self._take_names(request.names, returns=returns)
        self._began = True
        self._note()
        return settled

    def next_response(self, nonce: str, *, pushes: bool, removals: bool) -> SotwResponse | None:
        """The next response, or None when there is nothing to say. ``pushes``: not only answers may be sent;
        ``removals``: nothing leads any more to what leaves."""
        if self.kind.wildcard:
            return self._whole(nonce, pushes=pushes, removals=removals)
        batch = Batch(self._bounds.response_bytes)
        self._collect_due(batch, pushes=pushes, removals=removals)
        if not batch.versions:
            return None
        self._sent(nonce, batch.versions, content := digest(batch.versions))
        return SotwResponse(self.kind.url, nonce, content, tuple(batch.resources))

    def _whole(self, nonce: str, *, pushes: bool, removals: bool) -> SotwResponse | None:
        if pushes and not self.holdings.in_flight:
            self._pushes = {name: None for name in self._pushes if self._differs(name, self._current(name))}
            self._leaving = {name: None for name in self._leaving if self._differs(name, None)}
            due = self._must_answer or self._answers or self.pushing or (removals and self._leaving)
        else:
            due = self._must_answer or self._answers
        if not due:
            return None
        chosen = [resource for name, resource in self._resources.items() if self.wanted(name)]
        if not removals:
            chosen += [self._shown[name] for name in self._leaving if name in self._shown]
        else:
            self._leaving.clear()
        self._shown = {resource.name: resource for resource in chosen} if self.kind.lasting else {}
        held = self.holdings.versions
        versions: Versions = {resource.name: resource.version for resource in chosen}
        content = digest(versions)
        news = {name: version for name, version in versions.items() if held.get(name) != version}
        # What is in flight is brought once more: the client's next answer is of that, too.
        news |= {name: versions.get(name) for name in self.holdings.unanswered()}
        news |= {name: versions[name] for name in self._answers if name in versions}
        news |= {name: None for name in held if name not in versions}
        self._must_answer = self._must_push = False
        self._answers.clear()
        self._pushes.clear()
        self._sent(nonce, news, content)
        return SotwResponse(self.kind.url, nonce, content, tuple(chosen))

    def _collect_one(self, name: str, current: Resource | None, batch: Batch, forced: bool) -> bool:
        if current is None:
            # Its absence can't be told; should it come back, it is sent.
            self.holdings.forget(name)
            return True
        return super()._collect_one(name, current, batch, forced)

    def _take_names(self, names: Iterable[str], *, returns: bool) -> None:
        """``returns``: the client had these before, on another stream, so that they are pushed rather than answered."""
        wanted = dict.fromkeys(names)
        self._check_bound(len(wanted), "a subscription to")
        # No names means all only until names were given once (xDS, "How the client specifies what resources to return",
        # and its wildcard rule).
        every = self.kind.wildcard and (ALL in wanted or (not wanted and not self._named))
        self._named = self._named or bool(wanted)
        wanted.pop(ALL, None)
        new = [name for name in wanted if name not in self._names]
        dropped = self._names.difference(wanted)
        turned = every is not self._wildcard
        self._names, self._wildcard = set(wanted), every
        if not every:
            for name in dropped:
                self._drop(name)
        if turned and not every:
            self._drop_unwanted()
            if not wanted:
                self._must_answer = self._must_push = False
        if returns:
            self._must_push = self.kind.wildcard
            self._pushes.update(dict.fromkeys(new))
            return
        self._must_answer = self._must_answer or (turned and every)
        self._answers.update(dict.fromkeys(name for name in new if not (every and name in self.holdings.versions)))
