"""The lookup way in the metrics and in the API."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from pydantic import BaseModel

from xds.lookup.breaker import STATES
from xds.lookup.learner import Learner


class LookupState(BaseModel):
    """``waiting``: hosts that GDS is asked for now. ``known``: that are asked again in the background, all of them
    within ``round_seconds``. ``missing``: that GDS hasn't got at present; ``gds_doubted``: these are so many that none
    is withdrawn. ``gds_knows_nobody``: it was asked often since the start, and said no each time. ``pods_error``: why
    the pods file can't be used as it is."""

    breaker: str
    waiting: int
    known: int
    round_seconds: float
    missing: int
    gds_doubted: bool
    gds_knows_nobody: bool
    pods_error: str


def lookup_metrics(learner: Learner) -> Iterator[Metric]:
    resolver = learner.resolver
    counted = resolver.counted
    yield from _by("asked", "Questions to GDS, by who wanted it.", "by", counted.asked)
    yield from _by("answers", "What came of the questions to GDS.", "answer", counted.outcome)
    yield from _by("turned_away", "Requests for unknown hosts answered 503, by why.", "why", counted.turned_away)
    yield _counter("gds_seconds", "Seconds that GDS took to answer, in all.", counted.seconds)
    yield _counter("remembered", "Requests answered from what GDS said a short while ago.", counted.remembered)
    yield _counter("not_kept", "Answers not kept, as lookup.domains are known.", learner.full)
    yield _counter("breaker_opened", "Times that GDS failed so often that it had a pause.", resolver.breaker.opened)
    state = GaugeMetricFamily("pointsman_lookup_breaker", "1 for the state it is in.", labels=["state"])
    for one in STATES:
        state.add_metric([one], int(resolver.breaker.state == one))
    yield state
    backlog = resolver.budget.backlog(time.monotonic())
    yield _gauge("budget_backlog_seconds", "Seconds until lookup.rate has its whole burst again.", backlog)
    yield _gauge("waiting", "Hosts that GDS is asked for, or will be.", resolver.waiting)
    yield _gauge("remembering", "Answers remembered, most of them of hosts that nobody has.", len(resolver.answers))
    yield _gauge("known", "Hosts that are asked again in the background.", len(learner.rounds))
    yield _gauge(
        "round_seconds",
        "Seconds in which all of them are asked again, as it went in the last minute.",
        learner.round_seconds,
    )
    yield _gauge("refresh_seconds", "lookup.refresh: what that should be at most.", learner.rounds.refresh)
    yield _gauge("missing", "Known domains that GDS hasn't got at present.", learner.missing)
    yield _gauge("gds_doubted", "1 while GDS misses so many that none is withdrawn.", int(learner.doubtful))
    yield _gauge("gds_knows_nobody", "1 while GDS has known no host since the start.", int(counted.only_no))
    imported = GaugeMetricFamily("pointsman_lookup_imported", "Hosts of a map, by GDS's first word.", labels=["gds"])
    for word, count in learner.imported.counts.items():
        imported.add_metric([word], count)
    yield imported
    yield _gauge("pods_file_refused", "1 while the pods file can't be used as it is.", int(bool(learner.pods_error)))


def lookup_state(learner: Learner) -> LookupState:
    resolver = learner.resolver
    return LookupState(
        breaker=resolver.breaker.state,
        waiting=resolver.waiting,
        known=len(learner.rounds),
        round_seconds=round(learner.round_seconds, 1),
        missing=learner.missing,
        gds_doubted=learner.doubtful,
        gds_knows_nobody=resolver.counted.only_no,
        pods_error=learner.pods_error,
    )


def _by(name: str, text: str, label: str, counts: dict[str, int]) -> Iterator[Metric]:
    family = CounterMetricFamily(f"pointsman_lookup_{name}", text, labels=[label])
    for kind, count in counts.items():
        family.add_metric([kind], count)
    yield family


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"pointsman_lookup_{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"pointsman_lookup_{name}", text, value=value)
