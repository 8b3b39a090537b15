"""What decides in lookup mode: how often GDS is asked, when not at all, what is remembered, asked again, withdrawn."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from xds.lookup.answers import Answers
from xds.lookup.breaker import Breaker
from xds.lookup.budget import Budget
from xds.lookup.departures import WINDOW, Departures
from xds.lookup.fair import FairQueue
from xds.lookup.imported import Imported
from xds.lookup.rounds import Rounds
from xds.lookup.turns import Usual


def everybody(host: str) -> bool:
    return True


@given(st.lists(st.floats(0, 0.01), min_size=200, max_size=600))
def test_no_more_than_the_rate_and_one_burst_are_asked(gaps: list[float]) -> None:
    budget, now, asked = Budget(rate=100, burst=20), 0.0, []
    for gap in gaps:
        now += gap
        wait = budget.reserve(now, most=0.5)
        if wait is not None:
            assert wait <= 0.5
            asked.append(now + wait)
    for first in asked:
        assert sum(first <= one < first + 1 for one in asked) <= 100 + 20 + 1


def test_who_would_wait_too_long_for_the_budget_is_told_at_once_and_costs_nothing() -> None:
    budget = Budget(rate=10, burst=2)
    assert [budget.reserve(0, 0.15) for _ in range(5)] == [0, 0, 0.1, None, None]
    assert budget.reserve(0.1, 0.15) is not None
    assert budget.backlog(0.1) > 0
    assert budget.backlog(60) == 0


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 30)), min_size=1, max_size=120))
def test_hosts_go_by_turns_each_once_and_as_late_as_was_said(named: list[tuple[str, int]]) -> None:
    queue, order = FairQueue(), []
    for client, number in named:
        queue.put(f"h{number}", client)
    ahead = queue.ahead("new")
    queue.put("new", "new")
    while queue:
        order.append(queue.take())
    assert sorted(order) == sorted({f"h{number}" for _, number in named} | {"new"})
    assert order.index("new") <= ahead <= len({client for client, _ in named})


def test_who_has_most_makes_room_with_the_last_of_its_hosts_but_not_for_one_who_would_have_as_many() -> None:
    queue = FairQueue()
    for number in range(4):
        queue.put(f"a{number}", "a")
    queue.put("a3", "b")
    assert queue.crowded_out("new") == "a2"  # b still waits for a3
    assert "a3" in queue
    assert queue.crowded_out("b") is None
    assert [queue.take() for _ in range(len(queue))] == ["a0", "a3", "a1"]


def test_the_breaker_opens_after_failures_in_a_row_and_one_question_tries() -> None:
    breaker = Breaker(failures=3, pause=1.0)
    breaker.failed(0, "a", 0)
    breaker.failed(0, "b", 0)
    breaker.succeeded()
    for host in ("a", "b", "c"):
        assert breaker.allows(0)
        breaker.failed(0, host, 0)
    assert (breaker.state, breaker.allows(0.9), breaker.rest(0.5)) == ("open", False, 0.5)
    assert breaker.allows(1.0)
    assert (breaker.state, breaker.allows(1.0)) == ("trying", False)
    breaker.succeeded()
    assert (breaker.state, breaker.allows(1.0)) == ("closed", True)


def test_one_host_that_fails_again_and_again_is_one_failure_and_what_is_no_hosts_counts_each_time() -> None:
    breaker = Breaker(failures=3, pause=1.0)
    for now in range(100):
        breaker.failed(now, "a", now)
    assert breaker.state == "closed"
    breaker.failed(100, None, 100)
    assert breaker.state == "closed"
    breaker.failed(100, None, 100)
    assert breaker.state == "open"


def test_each_try_that_fails_doubles_the_pause_up_to_a_limit() -> None:
    breaker, now, pauses = Breaker(failures=1, pause=1.0), 0.0, []
    breaker.failed(now, "a", now)
    for _ in range(8):
        now += breaker.rest(now)
        assert breaker.allows(now)
        breaker.failed(now, "a", now)
        pauses.append(breaker.rest(now))
    assert pauses == [2, 4, 8, 16, 30, 30, 30, 30]


def test_what_was_asked_before_it_opened_neither_prolongs_the_pause_nor_ends_the_try() -> None:
    breaker = Breaker(failures=1, pause=1.0)
    breaker.failed(0, "a", 0)
    breaker.failed(0.9, "b", 0)
    assert breaker.allows(1.0)
    breaker.failed(1.1, "c", 0)
    breaker.answered(0)
    assert (breaker.state, breaker.opened) == ("trying", 1)


def test_a_try_before_the_pause_is_over_ends_it_or_leaves_it_as_it_is() -> None:
    breaker = Breaker(failures=1, pause=1.0)
    breaker.failed(0, "a", 0)
    for _ in range(5):
        assert breaker.allows(0.5, early=True)
        assert not breaker.allows(0.5, early=True)
        breaker.failed(0.5, "b", 0.5)
    assert (breaker.rest(0.5), breaker.opened) == (0.5, 1)
    assert breaker.allows(0.6, early=True)
    breaker.succeeded()
    assert breaker.allows(0.6)


def test_a_gds_that_refuses_the_host_it_is_tried_with_is_there() -> None:
    breaker = Breaker(failures=1, pause=1.0)
    breaker.failed(0, "a", 0)
    assert breaker.allows(1.0)
    breaker.answered(1.0)
    assert breaker.state == "closed"


def test_who_would_come_too_late_for_a_slow_gds_is_known_by_what_its_answers_took() -> None:
    usual = Usual()
    assert not usual.too_late(1_000, 10, 6.0)
    for _ in range(100):
        usual.took(2.0)
    assert [usual.too_late(ahead, 10, 6.0) for ahead in (0, 18, 20, 99)] == [False, False, True, True]
    assert usual.too_late(0, 10, 2.1)


def test_an_answer_is_remembered_for_its_time_and_the_oldest_make_room() -> None:
    answers: Answers[str | None] = Answers(lasts=10, most=3)
    for number in range(5):
        answers.put(f"h{number}", None, number)
    assert len(answers) == 3
    assert answers.get("h1", 5) is None
    assert answers.get("h2", 11.9) == (None,)
    assert answers.get("h2", 12) is None
    answers.put("h2", "pod1", 12)
    assert answers.get("h2", 13) == ("pod1",)
    answers.put("new", None, 100)
    assert len(answers) == 1


def test_a_round_is_spread_evenly_over_the_refresh_time_and_takes_the_oldest_first() -> None:
    rounds = Rounds(refresh=10, rate=100)
    for number in range(5):
        rounds.add(f"h{number}")
    assert rounds.seconds(0) == 9
    asked = [(now / 10, host) for now in range(0, 181) if (host := rounds.next(now / 10, everybody))]
    assert [host for _, host in asked[:10]] == ["h0", "h1", "h2", "h3", "h4"] * 2
    gaps = [after - before for (before, _), (after, _) in itertools.pairwise(asked)]
    assert all(1.6 <= gap <= 2.0 for gap in gaps)


def test_the_rate_is_kept_however_many_are_known() -> None:
    rounds = Rounds(refresh=1, rate=50)
    for number in range(10_000):
        rounds.add(f"h{number}")
    assert rounds.seconds(0) == 200
    asked = [host for step in range(10_000) if (host := rounds.next(step / 1000, everybody))]
    assert 495 <= len(asked) <= 505
    assert asked == [f"h{number}" for number in range(len(asked))]


def test_time_that_was_lost_brings_no_crowd() -> None:
    rounds = Rounds(refresh=1, rate=100)
    for number in range(1_000):
        rounds.add(f"h{number}")
    assert rounds.next(0, everybody)
    crowd = [host for _ in range(100) if (host := rounds.next(60, everybody))]
    assert len(crowd) <= 7


def test_a_host_that_is_dropped_and_added_again_has_one_place() -> None:
    rounds = Rounds(refresh=1, rate=1000)
    for host in ("a", "b", "a"):
        rounds.add(host)
    rounds.drop("a")
    assert len(rounds) == 1
    rounds.add("a")
    assert [rounds.next(step, everybody) for step in range(4)] == ["a", "b", "a", "b"]
    rounds.drop("a")
    assert [rounds.next(step, everybody) for step in range(4, 7)] == ["b", "b", "b"]
    assert [rounds.next(step, lambda host: False) for step in range(7, 9)] == [None, None]
    assert len(rounds) == 0


def test_busy_hosts_are_asked_within_the_refresh_time_though_a_round_takes_longer() -> None:
    rounds = Rounds(refresh=10, rate=20)
    for number in range(2_000):
        rounds.add(f"h{number}")
    rounds.favour([f"h{number}" for number in range(1_990, 2_000)] + ["stranger"])
    asked: dict[str, list[float]] = {}
    for step in range(6_000):
        if host := rounds.next(step / 100, everybody):
            asked.setdefault(host, []).append(step / 100)
    for number in range(1_990, 2_000):
        times = [0.0, *asked[f"h{number}"]]
        assert max(after - before for before, after in itertools.pairwise(times)) <= 10
    assert "stranger" not in asked
    # The others go on: the busy ones take at most every second question.
    assert sum(len(times) for times in asked.values()) - sum(len(asked[f"h{n}"]) for n in range(1_990, 2_000)) >= 590


def asked_of(rounds: Rounds, seconds: float, step: float = 0.001, slow: float = 0.0) -> dict[str, list[float]]:
    """When each was asked; ``slow``: so long after a question the next one can be asked."""
    asked: dict[str, list[float]] = {}
    free, now = 0.0, 0.0
    while now < seconds:
        if now >= free and (host := rounds.next(now, everybody)):
            asked.setdefault(host, []).append(now)
            free = now + slow
        now += step
    return asked


def test_how_long_a_round_takes_is_told_as_it_goes_with_busy_hosts_and_a_slow_gds() -> None:
    for busy, slow in ((0, 0.0), (200, 0.0), (0, 0.05)):
        rounds = Rounds(refresh=10, rate=50)
        for number in range(1_000):
            rounds.add(f"h{number}")
        rounds.favour([f"h{number}" for number in range(1_000 - busy, 1_000)])
        asked = asked_of(rounds, 90, slow=slow)
        took = max(after - before for times in asked.values() for before, after in itertools.pairwise(times))
        assert 0.9 * took <= rounds.seconds(90) <= 1.1 * took, (busy, slow)
        assert took >= (20 if not (busy or slow) else 35), (busy, slow)


def test_a_round_that_has_become_long_is_told_so_at_once_and_not_longer_than_it_is() -> None:
    rounds = Rounds(refresh=10, rate=50)
    rounds.add("first")
    for step in range(60_000):
        rounds.next(step / 1000, everybody)
    assert 9 <= rounds.seconds(60) <= 10
    for number in range(1_000):
        rounds.add(f"h{number}")
    assert 19 <= rounds.seconds(60) <= 25
    assert rounds.wait(60) <= 0.02


def test_what_is_to_be_asked_at_its_time_is_and_the_rate_holds_and_the_others_go_on() -> None:
    rounds = Rounds(refresh=10, rate=50)
    for number in range(10_000):
        rounds.add(f"h{number}")
    rounds.next(0, everybody)
    for number in range(5_000, 5_200):
        rounds.at(f"h{number}", 3.0, 0)
    rounds.not_at("h5001")
    rounds.drop("h5002")
    asked = asked_of(rounds, 30)
    times = sorted(now for one in asked.values() for now in one)
    assert sum(len(one) for one in asked.values()) <= 50 * 30 + 4
    at_its_time = {host: one[0] for host, one in asked.items() if int(host[1:]) >= 5_000}
    assert len(at_its_time) == 198
    assert min(at_its_time.values()) >= 3.0
    assert sorted(at_its_time.values())[0] <= 3.2
    others = [now for host, one in asked.items() if int(host[1:]) < 5_000 for now in one]
    assert sum(3 <= now < 13 for now in others) >= 0.7 * sum(3 <= now < 13 for now in times)


def test_what_is_to_be_asked_at_its_time_waits_until_enough_others_were_asked() -> None:
    rounds = Rounds(refresh=10, rate=50)
    for number in range(10_000):
        rounds.add(f"h{number}")
    rounds.next(0, everybody)
    rounds.at("h5000", 1.0, 100)
    times = asked_of(rounds, 5)
    assert 1.9 <= times["h5000"][0] <= 2.2
    alone = Rounds(refresh=100, rate=50)
    alone.add("a")
    alone.next(0, everybody)
    alone.at("a", 1.0, 1)
    assert alone.wait(2.0) > 80


def test_in_a_small_edge_what_is_to_be_asked_at_its_time_waits_for_no_turn() -> None:
    rounds = Rounds(refresh=100, rate=50)
    rounds.add("a")
    assert rounds.next(0, everybody) == "a"
    rounds.at("a", 10.0, 0)
    assert rounds.wait(4.0) == 6.0
    assert rounds.next(9.9, everybody) is None
    assert rounds.next(10.0, everybody) == "a"
    assert rounds.next(10.1, everybody) is None


def test_a_domain_that_is_gone_is_asked_for_again_when_its_grace_time_is_over_unless_gds_is_doubted() -> None:
    departures = Departures(grace=60, share=0.1, minimum=20)
    departures.known = 1_000
    assert departures.missing("a", 5) == 65
    assert departures.missing("a", 10) is None
    for number in range(500):
        departures.missing(f"h{number}", 10)
    assert departures.doubtful
    assert departures.missing("b", 11) is None
    at_once = Departures(grace=0, share=0.1, minimum=20)
    at_once.known = 1_000
    assert at_once.missing("a", 5) is None
    assert at_once.due() == ["a"]


def test_a_domain_is_gone_when_gds_has_said_so_for_the_grace_time() -> None:
    departures = Departures(grace=60, share=0.1, minimum=100)
    departures.known = 10
    departures.missing("a", 0)
    departures.missing("b", 30)
    departures.missing("a", 59)
    assert departures.due() == []
    departures.missing("a", 60)
    departures.missing("b", 60)
    assert departures.due() == ["a"]
    departures.there("b")
    departures.missing("b", 100)
    assert departures.due() == []
    assert len(departures) == 1


def test_while_gds_misses_too_many_none_is_withdrawn_before_all_were_asked_and_then_all_at_once() -> None:
    departures = Departures(grace=10, share=0.1, minimum=20)
    known = [f"h{number}" for number in range(400)]
    lost = set(known[::3])
    departures.known = len(known)
    for now in (0.0, 9.0):
        for host in known:
            departures.missing(host, now) if host in lost else departures.there(host)
    assert departures.doubtful
    withdrawn = []
    for host in known:
        departures.missing(host, 11.0) if host in lost else departures.there(host)
        withdrawn.append(departures.due())
    assert [sorted(some) for some in withdrawn if some] == [sorted(lost)]


def test_when_gds_is_itself_again_nothing_was_withdrawn() -> None:
    departures = Departures(grace=10, share=0.1, minimum=20)
    known = [f"h{number}" for number in range(1_000)]
    departures.known = len(known)
    for now, there in ((0.0, False), (5.0, False), (20.0, True)):
        for host in known:
            departures.there(host) if there else departures.missing(host, now)
            assert departures.due() == []
    assert (len(departures), departures.doubtful) == (0, False)


def test_all_of_a_few_are_withdrawn_together_too_so_that_the_guard_sees_that_none_is_left() -> None:
    departures = Departures(grace=0, share=0.1, minimum=100)
    departures.known = 1
    departures.missing("a", 0)
    assert departures.due() == ["a"]
    departures = Departures(grace=5, share=0.1, minimum=100)
    departures.known = 3
    for now in (0.0, 4.0):
        for host in ("a", "b", "c"):
            departures.missing(host, now)
    departures.missing("a", 5)
    assert departures.due() == []
    departures.missing("b", 5)
    departures.missing("c", 5)
    assert sorted(departures.due()) == ["a", "b", "c"]


def test_a_few_of_a_small_edge_raise_doubt_and_one_that_is_missing_for_long_does_not() -> None:
    departures = Departures(grace=60, share=0.1, minimum=100, few=3)
    known = [f"h{number}" for number in range(12)]
    departures.known = len(known)
    for now in range(0, 3_000, 30):
        for host in known:
            departures.missing(host, now) if host == "h0" else departures.there(host)
    assert not departures.doubtful
    departures.missing("h1", 3_000)
    assert departures.due() == ["h0"]
    for host in ("h2", "h3"):
        departures.missing(host, 3_000)
    assert departures.doubtful
    departures.missing("h1", 3_061)
    assert departures.due() == []


def test_few_that_are_missing_among_many_raise_no_doubt() -> None:
    departures = Departures(grace=0, share=0.1, minimum=20)
    departures.known = 1_000
    for number in range(2 * WINDOW):
        departures.missing("a", number) if number % 100 == 0 else departures.there("b")
    assert not departures.doubtful


def test_few_known_domains_of_which_many_are_missing_raise_doubt_in_the_first_round() -> None:
    departures = Departures(grace=5, share=0.1, minimum=20)
    departures.known = 60
    for _ in range(20):
        for number in range(60):
            departures.there(f"h{number}")
    for number in range(40):
        departures.missing(f"h{number}", 0)
    assert departures.doubtful
    departures.missing("h0", 6)
    assert departures.due() == []


def test_what_gds_has_not_got_of_an_old_map_goes_after_grace_and_is_reported() -> None:
    imported = Imported(grace=60.0, few=3)
    imported.add(f"h{number}" for number in range(10))
    for number in range(6):
        assert imported.there(f"h{number}", agrees=True)
    for number in range(6, 10):
        imported.absent(f"h{number}", 1.0)
    assert (imported.due(), imported.missing, imported.doubtful) == ([], 4, False)
    for number in range(6, 10):
        imported.absent(f"h{number}", 61.0)
    assert imported.due() == imported.left == ["h6", "h7", "h8", "h9"]
    assert imported.counts == {"not_asked": 0, "agreed": 6, "moved": 0, "missing": 0, "gone": 4}


def test_of_an_import_that_gds_differs_from_more_often_than_not_all_go_together_and_the_guard_counts_them() -> None:
    imported = Imported(grace=0.0, few=3)
    imported.add(f"h{number}" for number in range(10))
    imported.there("h0", agrees=True)
    for number in range(1, 9):
        imported.absent(f"h{number}", 1.0)
    assert (imported.doubtful, imported.due()) == (True, [])
    imported.absent("h9", 1.0)
    assert len(imported.due()) == 9
    imported.add(["a", "b", "c"])
    assert [imported.there(host, agrees=False) for host in ("a", "b", "c")] == [True, True, False]


def test_what_gds_was_heard_to_have_is_no_import_any_more() -> None:
    imported = Imported(grace=0.0, few=3)
    imported.add(["a", "b"])
    assert imported.there("a", agrees=True)
    assert not imported.there("a", agrees=False)
    assert "a" not in imported
    assert (imported.leaves("a"), imported.leaves("b"), imported.counts["gone"]) == (False, True, 1)
