"""Numbers, durations and the chart, as the page says and draws them."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from page_samples import NOW, convergence

from xds.http.page.chart import HEIGHT, WIDTH, chart, described
from xds.http.page.content import Convergence, Point
from xds.http.page.words import clipped, duration, number, plural

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 ms"),
        (0.0004, "0.4 ms"),
        (0.004, "4 ms"),
        (0.9996, "1 s"),
        (1.34, "1.3 s"),
        (47, "47 s"),
        (150, "2 min"),
        (7_300, "2 h"),
        (86_400 * 3, "3 d"),
    ],
)
def test_a_duration_is_said_in_the_unit_that_a_reader_would_choose(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@given(st.floats(min_value=0, max_value=1e9))
def test_any_duration_has_few_figures_and_one_unit(seconds: float) -> None:
    assert re.fullmatch(r"[\d.]{1,6} (ms|s|min|h|d)", duration(seconds))


def test_a_count_is_grouped_and_its_noun_agrees() -> None:
    assert number(1_000_000) == "1\u202f000\u202f000"
    assert (plural(1, "pod"), plural(0, "pod"), plural(1200, "pod")) == ("1 pod", "0 pods", "1\u202f200 pods")


def test_a_long_text_is_cut_and_says_so() -> None:
    assert (clipped("abcdef", 4), clipped("abcd", 4)) == ("abc…", "abcd")


def test_the_chart_says_in_words_what_it_draws() -> None:
    drawn = ElementTree.fromstring(_xml(chart(convergence())))
    assert drawn.get("role") == "img"
    named = drawn.get("aria-labelledby", "").split()
    assert [drawn.find(f"*[@id='{one}']") is not None for one in named] == [True, True]
    assert described(convergence()) in "".join(drawn.itertext())
    assert "half within 6 ms, 99 % within 41 ms" in described(convergence())


def test_a_slow_stretch_stands_higher_than_a_quick_one() -> None:
    def top(slowest: float) -> float:
        point = Point(NOW - 60, 0.002, slowest, slowest, 1)
        drawn = ElementTree.fromstring(_xml(chart(Convergence(NOW, 600, point, [point]))))
        return float(next(one for one in drawn.iter(f"{SVG}rect") if one.get("class") == "band").get("y", ""))

    assert top(0.02) > top(0.2) > top(2.0) > top(9.0)


def test_nothing_to_draw_is_said() -> None:
    assert described(Convergence(NOW, 1800)) == "Envoys took no change in the last 30 min."


@given(
    st.lists(
        st.builds(
            Point,
            st.floats(NOW - 4000, NOW + 4000),
            st.floats(0, 1e6),
            st.floats(0, 1e6),
            st.floats(0, 1e6),
            st.just(1),
        ),
        max_size=50,
    )
)
def test_whatever_the_times_everything_is_drawn_inside_the_picture(points: list[Point]) -> None:
    drawn = ElementTree.fromstring(_xml(chart(Convergence(NOW, 1800, points[0] if points else None, points))))
    for mark in drawn.iter(f"{SVG}rect"):
        x, y, width, height = (float(mark.get(key, "")) for key in ("x", "y", "width", "height"))
        assert 0 <= x <= x + width <= WIDTH
        assert height >= 0
        assert 0 <= y <= HEIGHT


def test_the_chart_has_no_style_of_its_own() -> None:
    assert "style" not in chart(convergence())


def _xml(svg: str) -> str:
    return str(svg).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
