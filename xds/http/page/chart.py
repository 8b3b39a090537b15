"""The chart of convergence: a series of times in, SVG out. Pure.

Each stretch of time has a mark at its median, a band from there to the 99th percentile and a line to the slowest, on a
logarithmic axis: what matters is whether a change took 4 ms, 40 ms or 4 s. Nothing in it has a style of its own, so
that a strict policy lets it pass.
"""

from __future__ import annotations

from math import log10

from markupsafe import Markup

from xds.http.page.content import Convergence, Point
from xds.http.page.words import clock, duration, plural

WIDTH, HEIGHT = 720, 168
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 4, 10, 24
_LOWEST, _HIGHEST = 0.001, 10.0
_LINES = (0.001, 0.01, 0.1, 1.0, 10.0)
_HOURS = 5
_WIDE = 3.0

_SVG = Markup(
    '<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-labelledby="chart-title chart-text">'
    '<title id="chart-title">Time to convergence</title>'
    '<desc id="chart-text">{text}</desc>{grid}{hours}{marks}</svg>'
)
_LINE = Markup('<line class="grid" x1="{x1}" x2="{x2}" y1="{y}" y2="{y}"/><text class="axis" x="{x}" y="{ty}" ')
_WHISKER = Markup('<line class="whisker" x1="{x}" x2="{x}" y1="{y1}" y2="{y2}"/>')
_BAND = Markup('<rect class="band" x="{x}" y="{y}" width="{w}" height="{h}"/>')
_MEDIAN = Markup('<rect class="median" x="{x}" y="{y}" width="{w}" height="2"/>')


def chart(series: Convergence) -> Markup:
    """An ``<svg>`` element of fixed proportions, with a title and a description in words."""
    start = series.now - series.span
    marks = Markup("").join(_mark(point, start, series.span) for point in _inside(series))
    hours = _hours(start, series.span)
    return _SVG.format(width=WIDTH, height=HEIGHT, text=described(series), grid=_grid(), hours=hours, marks=marks)


def described(series: Convergence) -> str:
    """The chart in a sentence or two."""
    whole, points = series.whole, _inside(series)
    if whole is None or not points:
        return f"Envoys took no change in the last {duration(series.span)}."
    worst = max(points, key=lambda point: point.slowest)
    return (
        f"{plural(whole.count, 'ACK')} in the last {duration(series.span)}: half within {duration(whole.median)}, 99 % "
        f"within {duration(whole.p99)}; the slowest, about {clock(worst.at)}, after {duration(whole.slowest)}."
    )


def _inside(series: Convergence) -> list[Point]:
    start = series.now - series.span
    return [point for point in series.points if start <= point.at <= series.now]


def _mark(point: Point, start: float, span: float) -> Markup:
    x = _LEFT + (point.at - start) / span * (WIDTH - _LEFT - _RIGHT - _WIDE)
    slowest, p99, median = _y(point.slowest), _y(point.p99), _y(point.median)
    made = Markup("")
    if p99 - slowest > 1:
        made = _WHISKER.format(x=_n(x + _WIDE / 2), y1=_n(slowest), y2=_n(p99))
    made += _BAND.format(x=_n(x), y=_n(p99), w=_n(_WIDE), h=_n(max(1.0, median - p99)))
    return made + _MEDIAN.format(x=_n(x), y=_n(median - 1), w=_n(_WIDE))


def _grid() -> Markup:
    made = Markup("")
    for seconds in _LINES:
        y = _y(seconds)
        line = _LINE.format(x1=_LEFT, x2=WIDTH - _RIGHT, y=_n(y), x=_LEFT - 6, ty=_n(y + 3.5))
        made += line + Markup('text-anchor="end">{}</text>').format(duration(seconds))
    return made


def _hours(start: float, span: float) -> Markup:
    made = Markup("")
    for number in range(_HOURS):
        share = number / (_HOURS - 1)
        x = _LEFT + share * (WIDTH - _LEFT - _RIGHT)
        anchor = "start" if number == 0 else "end" if number == _HOURS - 1 else "middle"
        made += Markup('<text class="axis" x="{}" y="{}" text-anchor="{}">{}</text>').format(
            _n(x), HEIGHT - 6, anchor, clock(start + share * span)[:5]
        )
    return made


def _y(seconds: float) -> float:
    inside = min(max(seconds, _LOWEST), _HIGHEST)
    share = (log10(inside) - log10(_LOWEST)) / (log10(_HIGHEST) - log10(_LOWEST))
    return _TOP + (1 - share) * (HEIGHT - _TOP - _BOTTOM)


def _n(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")
