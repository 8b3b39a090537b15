"""The keys of session tickets: equal on every replica, and no ticket is refused because a window ends."""

from __future__ import annotations

from xds.certificates.tickets import KEY_BYTES, ticket_keys, until_next

SECRET = bytes(range(32))
HOUR = 3600.0


def test_replicas_with_one_secret_have_the_same_keys() -> None:
    keys = ticket_keys(SECRET, 1_000_000.0, HOUR)
    assert ticket_keys(bytes(SECRET), 1_000_000.0, HOUR) == keys
    assert len(set(keys)) == 3
    assert {len(key) for key in keys} == {KEY_BYTES}


def test_other_secrets_and_other_windows_give_other_keys() -> None:
    keys = set(ticket_keys(SECRET, 1_000_000.0, HOUR))
    assert keys.isdisjoint(ticket_keys(bytes(32), 1_000_000.0, HOUR))
    assert keys.isdisjoint(ticket_keys(SECRET, 1_000_000.0, 2 * HOUR))


def test_a_tickets_key_is_taken_in_the_next_window_and_not_for_ever() -> None:
    made_with = ticket_keys(SECRET, 0.0, HOUR)[0]
    assert made_with in ticket_keys(SECRET, HOUR, HOUR)
    assert made_with not in ticket_keys(SECRET, 2 * HOUR, HOUR)


def test_a_replica_whose_clock_is_behind_takes_the_tickets_of_one_that_is_ahead() -> None:
    assert ticket_keys(SECRET, HOUR, HOUR)[0] in ticket_keys(SECRET, HOUR - 1, HOUR)


def test_the_next_window_is_waited_for() -> None:
    assert until_next(0.0, HOUR) == HOUR
    assert until_next(HOUR - 10, HOUR) == 10
