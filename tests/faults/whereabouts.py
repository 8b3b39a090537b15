"""Which pods may answer for a domain, and when: what the load's answers are held against.

A domain that moves may be answered by either pod until the new one has answered; a second later, the new one alone.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

SLACK = 1.0
"""Seconds in which Envoy's workers, which take a change one after the other, may still disagree."""


@dataclass
class _Stay:
    pod: str
    since: float
    seen: float | None = None
    """When it first answered, and no earlier stay could have."""


class Whereabouts:
    """Times are monotonic seconds. May be used from several threads."""

    def __init__(self, domains: Mapping[str, str]) -> None:
        self._lock = threading.Lock()
        self._stays = {domain: [_Stay(pod, 0.0, 0.0)] for domain, pod in domains.items()}

    @property
    def domains(self) -> list[str]:
        return list(self._stays)

    def pod(self, domain: str) -> str:
        """Where it is, or is on its way to."""
        return self._stays[domain][-1].pod

    def moves(self, domain: str, pod: str, now: float) -> None:
        """Told before GDS is."""
        with self._lock:
            if self._stays[domain][-1].pod != pod:
                self._stays[domain].append(_Stay(pod, now))

    def arrived(self, domain: str) -> bool:
        """The pod of its last move has answered."""
        return self._stays[domain][-1].seen is not None

    def judge(self, domain: str, pod: str, began: float, ended: float) -> str | None:
        """Why this answer is wrong; None when it is right."""
        with self._lock:
            stays = self._stays[domain]
            proved = [index for index, stay in enumerate(stays) if stay.seen is not None and stay.seen + SLACK < began]
            first = proved[-1] if proved else 0
            right = [stay for stay in stays[first:] if stay.since <= ended]
            found = [stay for stay in right if stay.pod == pod]
            if not found:
                return f"{domain} was answered by {pod or 'nobody'}, not by {' or '.join(stay.pod for stay in right)}"
            if found[0].seen is None:
                found[0].seen = ended
            return None
