"""The soak's look at growth: a leak is seen though its process is started anew again and again."""

from __future__ import annotations

import pytest
from sizes import Sample, growths


def run(memory: float, within: float, restart_every: float = 100.0) -> list[Sample]:
    """A control plane of 100 MB that grows by so many MB in the whole run of 1000 s, and in each life."""
    samples = []
    for at in range(0, 1000, 10):
        life, age = divmod(at, restart_every)
        size = 100e6 + 1e6 * (memory * at / 1000 + within * age / restart_every + 20 * min(age, 30) / 30)
        samples.append(Sample(at, "pointsman", int(life), int(size), 30))
    return samples


@pytest.mark.parametrize(("memory", "within", "grown"), [(0, 0, False), (60, 0, True), (0, 60, True), (10, 10, False)])
def test_growth_is_seen_over_the_run_and_within_a_life(memory: float, within: float, grown: bool) -> None:
    (growth,) = growths(run(memory, within), 1000)
    assert growth.too_much(20_000_000, 10) is grown
    assert growth.processes == 10


def test_files_that_are_left_open_are_seen() -> None:
    samples = [Sample(at, "envoy", 1, 100, 30 + at // 20) for at in range(0, 1000, 10)]
    (growth,) = growths(samples, 1000)
    assert growth.too_much(20_000_000, 10)
