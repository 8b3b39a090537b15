"""What a rule is: one row of the edge's checklist, and what it says of a configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from xds.lint.config import Config, Message, seconds


@dataclass(frozen=True, slots=True)
class Rule:
    """``broken`` returns what breaks the row, or "" when it is held. ``unless`` says why the row isn't asked of a
    configuration, or "" when it is."""

    name: str
    row: str
    advice: str
    broken: Callable[[Config], str]
    unless: Callable[[Config], str] = lambda config: ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """``found``: what breaks the row, or why it isn't asked."""

    name: str
    row: str
    status: Literal["held", "broken", "not asked"]
    found: str = ""
    advice: str = ""


def judged(rule: Rule, config: Config) -> Verdict:
    if why := rule.unless(config):
        return Verdict(rule.name, rule.row, "not asked", why)
    if found := rule.broken(config):
        return Verdict(rule.name, rule.row, "broken", found, rule.advice)
    return Verdict(rule.name, rule.row, "held")


def differing(messages: Iterable[Message], wanted: Mapping[str, object], of: str) -> str:
    """The first of ``messages`` whose dotted field isn't as wanted."""
    for message in messages:
        for path, value in wanted.items():
            if (there := at(message, path)) != value:
                return f"{path} of {of} {label(message)} is {there!r}, not {value!r}"
    return ""


def within(messages: Iterable[Message], path: str, most: float, of: str, least: float = 0.001) -> str:
    """The first of ``messages`` whose duration isn't between ``least`` and ``most`` seconds."""
    for message in messages:
        value = seconds(at(message, path))
        if value is None or not least <= value <= most:
            said = "not set" if value is None else f"{value:g} s"
            return f"{path} of {of} {label(message)} is {said}, not at most {most:g} s"
    return ""


def at(message: Message, path: str) -> object:
    """What a dotted path leads to; None when nothing is there."""
    found: object = message
    for part in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(part)
    return found


def label(message: Message) -> str:
    return str(message.get("name") or message.get("stat_prefix") or "")


def first(*found: str) -> str:
    return next((each for each in found if each), "")


def without_http3(config: Config) -> str:
    """Why a row about HTTP/3 isn't asked, or ""."""
    return "" if config.quic() else "HTTP/3 is off (edge.http3)"
