"""Numbers, times and durations as the page says them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

_UNITS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"))


def number(value: float) -> str:
    """With a thin space between groups of thousands: 1 000 000."""
    return f"{value:,.0f}".replace(",", "\u202f")


def plural(count: int, noun: str, ending: str = "s") -> str:
    return f"{number(count)} {noun}{'' if count == 1 else ending}"


def duration(seconds: float) -> str:
    """In the unit that a reader would choose, of two or three figures: 4 ms, 1.3 s, 12 min, 3 d."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.1f} ms" if 0 < seconds < 0.00095 else f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    for size, unit in _UNITS:
        if seconds >= 2 * size or unit == "min":
            return f"{seconds / size:.0f} {unit}"
    raise AssertionError


def clock(at: float) -> str:
    """Seconds since 1970 as the time of day in UTC: 21:04:09."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def moment(at: float) -> str:
    """Seconds since 1970 as day and time in UTC: 2026-11-25 21:04:09."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def iso(at: float) -> str:
    """For a ``datetime`` attribute."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def clipped(text: str, most: int) -> str:
    """At most so many characters, the last of them an ellipsis when some are missing."""
    return text if len(text) <= most else text[: most - 1] + "…"
