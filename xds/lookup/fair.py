"""Whose host is asked for next: clients take turns, so that one who names many leaves the others theirs. Pure."""

from __future__ import annotations

from collections import OrderedDict


class FairQueue:
    """Hosts that wait, each for one client or more; a client's own go by arrival. The host of a client who waits for no
    other comes after one of each other client at most."""

    def __init__(self) -> None:
        self._hosts: OrderedDict[str, OrderedDict[str, None]] = OrderedDict()
        """By client, in the order of their turns. Each has some."""
        self._clients: dict[str, set[str]] = {}
        """By host."""

    def __len__(self) -> int:
        return len(self._clients)

    def __contains__(self, host: str) -> bool:
        return host in self._clients

    def put(self, host: str, client: str) -> None:
        """``client`` waits for ``host`` from now on, if it didn't before."""
        self._hosts.setdefault(client, OrderedDict())[host] = None
        self._clients.setdefault(host, set()).add(client)

    def named(self, client: str) -> int:
        """Hosts for which ``client`` waits."""
        return len(self._hosts.get(client, ()))

    def ahead(self, client: str) -> int:
        """Hosts whose turn comes before that of one that ``client`` would name now."""
        own = self.named(client)
        return own + sum(min(len(hosts), own + 1) for other, hosts in self._hosts.items() if other != client)

    def take(self) -> str:
        """The host whose turn it is; it waits no more. There must be one."""
        client, hosts = next(iter(self._hosts.items()))
        host = next(iter(hosts))
        self._hosts.move_to_end(client)
        self.drop(host)
        return host

    def drop(self, host: str) -> None:
        """Nobody waits for it any more, if anybody did."""
        for each in self._clients.pop(host, ()):
            self._leave(each, host)

    def crowded_out(self, client: str) -> str | None:
        """A host that waits no more, so that ``client`` can have one in its place: the last one of whoever has most.
        None when nobody has more than ``client`` would have then."""
        while self._hosts:
            most = max(self._hosts, key=self.named)
            if self.named(most) <= self.named(client) + 1:
                break
            host = next(reversed(self._hosts[most]))
            self._leave(most, host)
            self._clients[host].discard(most)
            if not self._clients[host]:  # else another client still waits for it
                del self._clients[host]
                return host
        return None

    def clear(self) -> None:
        self._hosts.clear()
        self._clients.clear()

    def _leave(self, client: str, host: str) -> None:
        hosts = self._hosts[client]
        del hosts[host]
        if not hosts:
            del self._hosts[client]
