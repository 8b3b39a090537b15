"""The busiest known hosts, of late."""

from __future__ import annotations

from xds.busy_hosts import BusyHosts


def test_the_busiest_come_first_and_who_was_busy_once_is_forgotten_after_two_turns() -> None:
    busy = BusyHosts(capacity=4)
    for host in ("a", "b", "b", "c", "c", "c"):
        busy.add(host)
    assert busy.top(2) == ["c", "b"]
    busy.turn()
    busy.add("d")
    assert busy.top(3) == ["d", "c", "b"]
    busy.turn()
    busy.turn()
    assert busy.top(3) == []
