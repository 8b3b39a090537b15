"""The directory: which domain lives on which pod, at one revision of GDS. Pure state, no I/O and no clock.

Records that can't be used are set aside with their reason and never stop the rest. A domain whose pod isn't
known is remembered, and appears by itself when that pod does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from xds.errors import HistoryGone, RecordError
from xds.gds.model import (
    Change,
    DeleteDomain,
    DeletePod,
    Pod,
    PutDomain,
    PutPod,
    Snapshot,
    Transaction,
    check_domain,
    check_pod,
    normalise_host,
)

V = TypeVar("V")
Moves = dict[str, tuple[V | None, V | None]]


def _extend(total: Moves[V], step: Moves[V]) -> None:
    for name, (old, new) in step.items():
        first = total[name][0] if name in total else old
        if first == new:
            total.pop(name, None)
        else:
            total[name] = (first, new)


@dataclass(frozen=True, slots=True)
class Delta:
    """What differs between two states, as name -> (old, new); None stands for absent."""

    domains: Moves[str]
    pods: Moves[Pod]

    def __bool__(self) -> bool:
        return bool(self.domains or self.pods)

    def merged(self, later: Delta) -> Delta:
        """This delta followed by ``later``; what came back to where it was is dropped."""
        both = Delta(dict(self.domains), dict(self.pods))
        _extend(both.domains, later.domains)
        _extend(both.pods, later.pods)
        return both


@dataclass(frozen=True, slots=True)
class SetAside:
    """A record that isn't used: ``kind`` is "domain" or "pod"."""

    kind: str
    name: str
    reason: str
    revision: int


class Directory:
    """Domains and pods as they may be routed. Not complete until the first snapshot."""

    def __init__(self) -> None:
        self.epoch = ""
        self.revision = 0
        self.complete = False
        self._domains: dict[str, str] = {}
        self._pods: dict[str, Pod] = {}
        self._homeless: dict[str, dict[str, None]] = {}
        self._wanted: dict[str, str] = {}
        self._set_aside: dict[tuple[str, str], SetAside] = {}

    @property
    def domains(self) -> Mapping[str, str]:
        return MappingProxyType(self._domains)

    @property
    def pods(self) -> Mapping[str, Pod]:
        return MappingProxyType(self._pods)

    @property
    def set_aside(self) -> Mapping[tuple[str, str], SetAside]:
        return MappingProxyType(self._set_aside)

    def replace(self, snapshot: Snapshot) -> Delta:
        """Takes a whole snapshot; returns only what differs from what was held."""
        fresh = Directory()
        fresh.revision = snapshot.revision
        none = Delta({}, {})
        for pod in snapshot.pods:
            if pod.name in fresh._pods:
                fresh._put_aside("pod", pod.name, "the snapshot holds it twice; the first record is used")
            else:
                fresh._put_pod(pod, none)
        for domain, pod_name in snapshot.domains:
            if domain in fresh._domains or domain in fresh._wanted:
                fresh._put_aside("domain", domain, "the snapshot holds it twice; the first record is used")
            else:
                fresh._put_domain(domain, pod_name, none)
        delta = Delta(_differences(self._domains, fresh._domains), _differences(self._pods, fresh._pods))
        self._domains, self._pods = fresh._domains, fresh._pods
        self._homeless, self._wanted, self._set_aside = fresh._homeless, fresh._wanted, fresh._set_aside
        self.epoch, self.revision, self.complete = snapshot.epoch, snapshot.revision, True
        return delta

    def apply(self, transaction: Transaction) -> Delta:
        """Takes the next revision, whole. One already held is ignored.

        Raises HistoryGone when a revision is missing or the epoch is another: a new snapshot is needed.
        """
        if not self.complete or transaction.epoch != self.epoch:
            raise HistoryGone(f"GDS epoch {transaction.epoch!r} is not the one held, {self.epoch!r}: resync")
        if transaction.revision <= self.revision:
            return Delta({}, {})
        if transaction.revision != self.revision + 1:
            raise HistoryGone(f"GDS revision {transaction.revision} does not follow {self.revision}: resync")
        self.revision = transaction.revision
        delta = Delta({}, {})
        for change in transaction.changes:
            step = Delta({}, {})
            self._apply_one(change, step)
            _extend(delta.domains, step.domains)
            _extend(delta.pods, step.pods)
        return delta

    def lookup(self, host: str) -> tuple[str, str] | None:
        """The (domain, pod) that serves ``host``: its own entry, else the longest wildcard that covers it."""
        name = normalise_host(host)
        if name in self._domains and not name.startswith("*"):
            return name, self._domains[name]
        while "." in name:
            name = name.partition(".")[2]
            wildcard = f"*.{name}"
            if wildcard in self._domains:
                return wildcard, self._domains[wildcard]
        return None

    def _apply_one(self, change: Change, delta: Delta) -> None:
        match change:
            case PutDomain(domain, pod):
                self._put_domain(domain, pod, delta)
            case DeleteDomain(domain):
                self._forget_wanted(domain)
                self._set_aside.pop(("domain", domain), None)
                self._set_domain(domain, None, delta)
            case PutPod(pod):
                self._put_pod(pod, delta)
            case DeletePod(name):
                self._delete_pod(name, delta)

    def _put_domain(self, domain: str, pod: str, delta: Delta) -> None:
        try:
            check_domain(domain)
        except RecordError as error:
            self._put_aside("domain", domain, str(error))
            return
        self._forget_wanted(domain)
        if pod in self._pods:
            self._set_aside.pop(("domain", domain), None)
            self._set_domain(domain, pod, delta)
            return
        # The old pod no longer holds this customer, so a 404 is right and the old pod's answer would be wrong.
        self._want(domain, pod)
        self._set_domain(domain, None, delta)

    def _put_pod(self, pod: Pod, delta: Delta) -> None:
        try:
            check_pod(pod)
        except RecordError as error:
            self._put_aside("pod", pod.name, str(error))
            return
        self._set_aside.pop(("pod", pod.name), None)
        old = self._pods.get(pod.name)
        if old != pod:
            delta.pods[pod.name] = (old, pod)
            self._pods[pod.name] = pod
        for domain in self._homeless.pop(pod.name, {}):
            del self._wanted[domain]
            self._set_aside.pop(("domain", domain), None)
            self._set_domain(domain, pod.name, delta)

    def _delete_pod(self, name: str, delta: Delta) -> None:
        self._set_aside.pop(("pod", name), None)
        old = self._pods.pop(name, None)
        if old is None:
            return
        delta.pods[name] = (old, None)
        for domain in [d for d, pod in self._domains.items() if pod == name]:
            self._want(domain, name)
            self._set_domain(domain, None, delta)

    def _set_domain(self, domain: str, pod: str | None, delta: Delta) -> None:
        old = self._domains.get(domain)
        if old == pod:
            return
        delta.domains[domain] = (old, pod)
        if pod is None:
            del self._domains[domain]
        else:
            self._domains[domain] = pod

    def _want(self, domain: str, pod: str) -> None:
        self._wanted[domain] = pod
        self._homeless.setdefault(pod, {})[domain] = None
        self._put_aside("domain", domain, f"its pod {pod!r} is not in the directory")

    def _forget_wanted(self, domain: str) -> None:
        pod = self._wanted.pop(domain, None)
        if pod is not None:
            waiting = self._homeless[pod]
            del waiting[domain]
            if not waiting:
                del self._homeless[pod]

    def _put_aside(self, kind: str, name: str, reason: str) -> None:
        self._set_aside[kind, name] = SetAside(kind, name, reason, self.revision)


def _differences(old: dict[str, V], new: dict[str, V]) -> Moves[V]:
    changed: Moves[V] = {name: (old.get(name), value) for name, value in new.items() if old.get(name) != value}
    changed.update({name: (value, None) for name, value in old.items() if name not in new})
    return changed
