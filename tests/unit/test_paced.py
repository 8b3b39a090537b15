"""Answers at a pace: few go at once, of many only so many a second, and none waits long."""

from __future__ import annotations

from xds.server.paced import Paced


class Answers:
    """Those of a pace of 100 a second, that wait two seconds at most: ``left`` has when each went."""

    def __init__(self) -> None:
        self.now = 50.0
        self.left: list[float] = []
        self._waited = 0.0
        self._paced = Paced(100, 2, clock=lambda: self.now, sleep=self._sleep)

    async def ask(self, count: int, waited: float = 0.0) -> None:
        for _ in range(count):
            self._waited = 0.0
            await self._paced.turn(waited)
            self.left.append(self.now + self._waited)

    async def _sleep(self, seconds: float) -> None:
        self._waited = seconds

    def between(self, start: float, end: float) -> int:
        return sum(start <= at < end for at in self.left)


async def test_few_go_at_once() -> None:
    answers = Answers()
    for _ in range(20):
        await answers.ask(5)
        answers.now += 0.05
    assert [round(at, 6) for at in answers.left] == [round(50 + turn * 0.05, 6) for turn in range(20) for _ in range(5)]


async def test_of_many_so_many_go_in_a_second() -> None:
    answers = Answers()
    await answers.ask(150)
    assert answers.between(50, 50.05) <= 11
    assert 85 <= answers.between(50.05, 51.05) <= 110
    assert max(answers.left) < 51.6


async def test_they_go_in_crowds() -> None:
    answers = Answers()
    await answers.ask(150)
    assert len({round(at, 6) for at in answers.left}) <= 17


async def test_none_waits_longer_than_the_longest() -> None:
    answers = Answers()
    await answers.ask(10_000)
    assert max(answers.left) <= 52
    answers.now = 52.2
    await answers.ask(1)
    assert answers.left[-1] == 52.2, "those that went out of turn count no more"


async def test_what_has_waited_for_something_else_already_waits_for_the_rest_alone() -> None:
    answers = Answers()
    await answers.ask(300)
    await answers.ask(10, waited=1.5)
    await answers.ask(10, waited=6)
    assert answers.left[300:310] == [50.5] * 10
    assert answers.left[310:] == [50] * 10
