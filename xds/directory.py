"""The directory: which domain lives on which pod, at one revision of GDS. Pure state, no I/O and no clock.

Records that can't be used are set aside with their reason and never stop the rest; what was held under their name
stays. A domain whose pod isn't known is remembered, and appears by itself when that pod does. A record that the edge
refused (`withhold`) is set aside likewise, until it comes with other content.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from types import MappingProxyType

from xds.delta import Content, Delta, Key, Move, apply_moves, differences, extend
from xds.errors import HistoryGone, RecordError
from xds.gds.model import (
    BadRecord,
    Change,
    DeleteDomain,
    DeletePod,
    Pod,
    PutDomain,
    PutPod,
    Snapshot,
    Transaction,
    all_plain,
    check_domain,
    check_pod,
    normalise_host,
)
from xds.set_aside import SHOWN, SetAside, Unusable
from xds.slices import SLICE, Work, cut, drained, emptied

_TOGETHER = 256  # domains of a snapshot checked in one go; one bad name among them costs a look at each
_LOOKED_AT = 500_000  # domains that are looked at once more for what is on a removed pod; some ten milliseconds
_AT_ONCE = 5_000  # changes of a transaction that are made in place; more on a draft, slice by slice


class Directory:
    """Domains and pods as they may be routed. Not complete until the first snapshot."""

    def __init__(self) -> None:
        self.epoch = ""
        self.revision = 0
        self.complete = False
        self._domains: dict[str, str] = {}
        self._pods: dict[str, Pod] = {}
        self._residents: Counter[str] = Counter()
        self._homeless: dict[str, dict[str, None]] = {}
        self._wanted: dict[str, str] = {}
        self._unusable = Unusable()
        self._withheld: dict[Key, tuple[str | Pod, SetAside]] = {}
        self._base = 0
        self._changed: dict[str, int] = {}
        """The revision at which each domain changed last, but for those that did at `_dated`."""
        self._dated = 0

    @property
    def domains(self) -> Mapping[str, str]:
        return MappingProxyType(self._domains)

    @property
    def pods(self) -> Mapping[str, Pod]:
        return MappingProxyType(self._pods)

    @property
    def residents(self) -> Mapping[str, int]:
        """How many domains each pod has; a pod without any may be missing."""
        return MappingProxyType(self._residents)

    @property
    def set_aside(self) -> Mapping[tuple[str, str], SetAside]:
        """What isn't used and why, by (kind, name): at most SHOWN of ``set_aside_total``."""
        shown = {key: record for key, (_, record) in islice(self._withheld.items(), SHOWN)} | self._unusable.shown
        for domain, pod in self._wanted.items():
            if len(shown) >= SHOWN:
                break
            shown.setdefault(("domain", domain), self._waits(domain, pod))
        return MappingProxyType(shown)

    def unused(self, kind: str, name: str) -> SetAside | None:
        """Why the newest record of that name isn't used; None when it is, or when there is none."""
        if (kind, name) in self._withheld:
            return self._withheld[kind, name][1]
        if (kind, name) in self._unusable:
            return self._unusable.of(kind, name)
        pod = self._wanted.get(name) if kind == "domain" else None
        return self._waits(name, pod) if pod is not None else None

    def unused_at(self, revision: int) -> bool:
        """Whether a record that this revision said isn't used, or may not be: of those that were said before the
        snapshot, of many, and of those that are withheld it isn't known at which revision they were."""
        if not self.set_aside_total:
            return False
        if self._withheld or self.set_aside_total > SHOWN:
            return True
        revisions = (one.revision for one in self.set_aside.values())
        return any(one == revision or (revision <= self._base and one <= self._base) for one in revisions)

    def _waits(self, domain: str, pod: str) -> SetAside:
        return SetAside("domain", domain, f"its pod {pod[:80]!r} is not in the directory", self.revision_of(domain))

    @property
    def withheld(self) -> Mapping[Key, str]:
        """The records that are set aside since an Envoy rejected them, with the reason."""
        return {key: record.reason for key, (_, record) in self._withheld.items()} if self._withheld else {}

    @property
    def set_aside_total(self) -> int:
        """How many names are set aside. One that both waits for its pod and has a newer, bad record counts once."""
        return len(self._unusable) + len(self._wanted) + len(self._withheld) - self._unusable.among(self._wanted)

    def revision_of(self, domain: str) -> int:
        """The revision at which ``domain`` last changed here; the snapshot's, if it hasn't since."""
        return self._changed.get(domain, self._dated)

    @property
    def base(self) -> int:
        """The revision of the newest snapshot: what it said may have been said long before."""
        return self._base

    def replace(self, snapshot: Snapshot) -> Delta:
        """Takes a whole snapshot, of any epoch and revision; returns only what differs from what was held."""
        fresh, delta = drained(self.loading(snapshot))
        self.become(fresh)
        return delta

    def loading(self, snapshot: Snapshot) -> Work[tuple[Directory, Delta]]:
        """The directory that a snapshot makes of this one, and what differs, in slices; this one must stay as it is
        meanwhile. `become` takes it."""
        fresh = Directory()
        yield from fresh._load(snapshot, self)
        return (yield from self.comparing(fresh))

    @staticmethod
    def loaded(snapshot: Snapshot) -> Work[Directory]:
        """The directory that a snapshot makes of nothing, in slices."""
        fresh = Directory()
        yield from fresh._load(snapshot, Directory())
        return fresh

    def comparing(self, fresh: Directory) -> Work[tuple[Directory, Delta]]:
        """``fresh`` and how it differs, in slices, for `become`. What is withheld here stays so in it, too."""
        fresh.restore([*fresh._withheld])  # as it was here when it was made; a search may have ended since
        fresh._withhold_again(self)
        moves = yield from differences(self._domains, fresh._domains)
        pods = yield from differences(self._pods, fresh._pods)
        if 2 * len(moves) < len(self._domains):
            # The names that are held are in the tables, too: each is kept once.
            twice, fresh._domains = fresh._domains, dict(self._domains)
            yield from apply_moves(fresh._domains, moves)
            yield from emptied(twice)
        return fresh, Delta(moves, pods)

    def become(self, draft: Directory) -> None:
        """Takes the draft's state, at once."""
        self.__dict__.update(draft.__dict__)

    def apply(self, transaction: Transaction) -> Delta:
        """Takes the next revision, whole. One already held is ignored.

        Raises HistoryGone when a revision is missing or the epoch is another: a new snapshot is needed.
        """
        return drained(self.applying(transaction))

    def applying(self, transaction: Transaction) -> Work[Delta]:
        """`apply` in slices, of which nothing is to be seen before the last; it must not be changed meanwhile."""
        delta = Delta({}, {})
        if not self.lacks(transaction):
            return delta
        if len(transaction.changes) <= _AT_ONCE and not self._evicts(transaction.changes, _AT_ONCE):
            self._apply(transaction.revision, transaction.changes, delta)
            return delta
        draft, delta = yield from self.drafting(transaction)
        self.become(draft)
        return delta

    def lacks(self, transaction: Transaction) -> bool:
        """Whether it is the next revision; False for one already held. Raises HistoryGone as `apply`."""
        if not self.complete or transaction.epoch != self.epoch:
            raise HistoryGone(f"GDS epoch {transaction.epoch!r} is not the one held, {self.epoch!r}: resync")
        if transaction.revision > self.revision + 1:
            raise HistoryGone(f"GDS revision {transaction.revision} does not follow {self.revision}: resync")
        return transaction.revision > self.revision

    def drafting(self, transaction: Transaction) -> Work[tuple[Directory, Delta]]:
        """What the next revision makes of this directory, and what differs, in slices; for `become`."""
        draft, delta = self._draft(), Delta({}, {})
        draft.revision = transaction.revision
        alike: dict[Move[str], Move[str]] = {}
        changed = 0
        for some in cut(transaction.changes):
            yield from draft._evicting(some, delta)
            # A dict of a million that grows takes a while, and where all names are new, all dicts grow at the same one.
            step, before = Delta({}, {}), draft._changed
            draft._changed = {}
            draft._apply(transaction.revision, some, step)
            changed += len(draft._changed)
            yield
            draft._changed = _later(before, draft._changed, some)
            yield
            extend(delta.domains, {name: alike.setdefault(move, move) for name, move in step.domains.items()})
            extend(delta.pods, step.pods)
            yield
        if 2 * changed > len(draft._domains):
            yield from draft._dating()
        return draft, delta

    def _dating(self) -> Work[None]:
        """When this revision has changed most domains, it is the others that are remembered: a dict of a million names
        more is tens of megabytes."""
        changed, before, now = self._changed, self._dated, self.revision
        others: dict[str, int] = {}
        withheld = (name for kind, name in self._withheld if kind == "domain")
        for some in cut(chain(self._domains, self._wanted, withheld), 2 * SLICE):
            others.update((name, at) for name in some if (at := changed.get(name, before)) != now)
            yield
        self._changed, self._dated = others, now
        yield from emptied(changed)

    def overlay(self, epoch: str, revision: int, changes: Iterable[Change]) -> Delta:
        """Takes single changes of some later revision, or of another epoch, without those between."""
        delta = Delta({}, {})
        self.epoch = epoch
        self._apply(revision, changes, delta)
        return delta

    def _draft(self) -> Directory:
        draft = Directory()
        for name, value in self.__dict__.items():
            draft.__dict__[name] = value.copy() if isinstance(value, dict | Unusable) else value
        draft._homeless = {pod: dict(waiting) for pod, waiting in self._homeless.items()}
        return draft

    def _apply(self, revision: int, changes: Iterable[Change], delta: Delta) -> None:
        self.revision = revision
        for change in changes:
            if type(change) is PutDomain and self._plain_move(change.domain, change.pod, delta):
                continue
            step = Delta({}, {})
            self._apply_one(change, step)
            extend(delta.domains, step.domains)
            extend(delta.pods, step.pods)

    def _evicts(self, changes: Iterable[Change], most: int) -> bool:
        """Whether these remove pods with more than ``most`` domains on them, or so many that finding those takes long:
        it is a look at the whole directory for each of these pods."""
        pods = {one.name for one in changes if isinstance(one, DeletePod)}
        residents = [self._residents[name] for name in pods if self._residents[name]]
        return sum(residents) > most or (len(residents) - 1) * len(self._domains) > _LOOKED_AT

    def _evicting(self, changes: Iterable[Change], delta: Delta) -> Work[None]:
        """Makes many domains of pods that are about to be removed homeless, in slices."""
        if not self._evicts(changes, SLICE):
            return
        step = Delta({}, {})
        for domain, pod in (yield from self._on({one.name for one in changes if isinstance(one, DeletePod)})).items():
            self._set_domain(domain, None, step)
            self._want(domain, pod)
            if len(step.domains) == SLICE:
                extend(delta.domains, step.domains)
                step.domains.clear()
                yield
        extend(delta.domains, step.domains)

    def _on(self, pods: Collection[str]) -> Work[dict[str, str]]:
        found: dict[str, str] = {}
        for some in cut(self._domains.items()):
            found.update((domain, pod) for domain, pod in some if pod in pods)
            yield
        return found

    def content(self, key: Key) -> Content:
        """What the record ``key`` says, as it is used now."""
        kind, name = key
        return self._domains.get(name) if kind == "domain" else self._pods.get(name)

    def withhold(self, records: Mapping[Key, Content], reason: str) -> Delta:
        """Uses these records no longer, but the content that is given: what they said before, None for nothing.

        They stay so until they come with other content than they have now, are deleted, or are restored.
        """
        delta = Delta({}, {})
        for key, before in records.items():
            kind, name = key
            step = Delta({}, {})
            now = self.content(key) or (self._wanted.get(name) if kind == "domain" else None)
            if now is None or now == before or key in self._withheld:
                continue
            if kind == "domain":
                self._forget_wanted(name)
                self._set_domain(name, before if isinstance(before, str) and before in self._pods else None, step)
            elif isinstance(before, Pod):
                step.pods[name] = (self._pods[name], before)
                self._pods[name] = before
            else:
                self._delete_pod(name, step)
            self._withheld[key] = now, SetAside(kind, name, reason, self.revision)
            extend(delta.domains, step.domains)
            extend(delta.pods, step.pods)
        return delta

    def blame(self, records: Iterable[Key], reason: str) -> None:
        """These are withheld for this reason."""
        for key in records:
            if key in self._withheld:
                content, record = self._withheld[key]
                self._withheld[key] = content, replace(record, reason=reason)

    def restore(self, records: Iterable[Key]) -> Delta:
        """Uses these records again, as they are now; those that aren't withheld any more are left alone."""
        delta = Delta({}, {})
        for key in records:
            now, _ = self._withheld.pop(key, (None, None))
            step = Delta({}, {})
            if isinstance(now, Pod):
                self._put_pod(now, step)
            elif now is not None:
                self._put_domain(key[1], now, step)
            extend(delta.domains, step.domains)
            extend(delta.pods, step.pods)
        return delta

    def home(self, domain: str) -> str | None:
        """The pod of a domain as GDS says, though there may be no such pod; None when the domain isn't known."""
        return self._domains.get(domain) or self._wanted.get(domain)

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

    def _load(self, snapshot: Snapshot, before: Directory) -> Work[None]:
        """Fills an empty directory. A name whose record is bad keeps what ``before`` held under it."""
        self.epoch, self.revision, self.complete = snapshot.epoch, snapshot.revision, True
        none = Delta({}, {})
        for pod in snapshot.pods:
            if pod.name in self._pods:
                self._put_aside("pod", pod.name, "the snapshot holds it twice; the first record is used")
                continue
            self._put_pod(pod, none)
            if pod.name not in self._pods and pod.name in before._pods:
                self._pods[pod.name] = before._pods[pod.name]
        for record in snapshot.bad:
            if record.kind == "pod" and record.name in before._pods:
                self._pods.setdefault(record.name, before._pods[record.name])
        yield from self._load_domains(snapshot.domains)
        for some in cut(snapshot.bad):
            for record in some:
                name = record.name
                home = before._domains.get(name) or before._wanted.get(name)
                if record.kind == "domain" and home and name not in self._domains and name not in self._wanted:
                    self._put_domain(name, home, none)
                self._put_aside(record.kind, name, record.reason)
            yield
        self._base = self._dated = snapshot.revision
        self._changed.clear()

    def _load_domains(self, pairs: Sequence[tuple[str, str]]) -> Work[None]:
        homes = {name: pod.name for name, pod in self._pods.items()}
        none = Delta({}, {})
        for start in range(0, len(pairs), _TOGETHER):
            if start:
                yield
            some = pairs[start : start + _TOGETHER]
            try:
                part = {domain: homes[pod] for domain, pod in some}
            except KeyError:
                part = {}
            if (
                len(part) == len(some)
                and all_plain(part)
                and self._domains.keys().isdisjoint(part)
                and self._wanted.keys().isdisjoint(part)
            ):
                self._domains.update(part)
                self._residents.update(part.values())
                continue
            for domain, pod in some:
                if domain in self._domains or domain in self._wanted:
                    self._put_aside("domain", domain, "the snapshot holds it twice; the first record is used")
                else:
                    self._put_domain(domain, pod, none)

    def _withhold_again(self, before: Directory) -> None:
        """What ``before`` withheld and hasn't changed stays withheld, and what was used in its place stays in use."""
        for key, (content, record) in before._withheld.items():
            if (self.content(key) or self._wanted.get(key[1])) == content:
                self.withhold({key: before.content(key)}, record.reason)

    def _still_withheld(self, key: Key, content: Content) -> bool:
        """Whether the record stays withheld though it came again; with other content it doesn't."""
        if key in self._withheld and self._withheld[key][0] != content:
            del self._withheld[key]
        return key in self._withheld

    def _plain_move(self, domain: str, pod: str, delta: Delta) -> bool:
        """Does what nearly every change of a large transaction is, at a third of the cost: a domain that is held goes
        to a pod that is held, for the first time in the transaction. False, and nothing done, for any other change."""
        old, home = self._domains.get(domain), self._pods.get(pod)
        if old is None or home is None or domain in delta.domains:
            return False
        if self._withheld or self._unusable:
            key = ("domain", domain)
            if key in self._withheld or key in self._unusable:
                return False
        if old != home.name:
            self._domains[domain] = home.name
            self._residents[old] -= 1
            self._residents[home.name] += 1
            self._changed[domain] = self.revision
            delta.domains[domain] = (old, home.name)
        return True

    def _apply_one(self, change: Change, delta: Delta) -> None:
        match change:
            case PutDomain(domain, pod):
                self._put_domain(domain, pod, delta)
            case DeleteDomain(domain):
                self._withheld.pop(("domain", domain), None)
                self._forget_wanted(domain)
                self._unusable.discard("domain", domain)
                self._set_domain(domain, None, delta)
                self._changed.pop(domain, None)
            case PutPod(pod):
                self._put_pod(pod, delta)
            case DeletePod(name):
                self._withheld.pop(("pod", name), None)
                self._delete_pod(name, delta)
            case BadRecord(kind, name, reason):
                self._put_aside(kind, name, reason)

    def _put_domain(self, domain: str, pod: str, delta: Delta) -> None:
        try:
            check_domain(domain)
        except RecordError as error:
            self._put_aside("domain", domain, str(error))
            return
        if self._still_withheld(("domain", domain), pod):
            return
        self._forget_wanted(domain)
        self._unusable.discard("domain", domain)
        home = self._pods.get(pod)
        if home is not None:
            self._set_domain(domain, home.name, delta)
            return
        # The old pod no longer holds this customer, so a 404 is right and the old pod's answer would be wrong.
        self._set_domain(domain, None, delta)
        self._want(domain, pod)

    def _put_pod(self, pod: Pod, delta: Delta) -> None:
        try:
            check_pod(pod)
        except RecordError as error:
            self._put_aside("pod", pod.name, str(error))
            return
        if self._still_withheld(("pod", pod.name), pod):
            return
        self._unusable.discard("pod", pod.name)
        old = self._pods.get(pod.name)
        if old != pod:
            delta.pods[pod.name] = (old, pod)
            self._pods[pod.name] = pod
        for domain in self._homeless.pop(pod.name, {}):
            del self._wanted[domain]
            self._set_domain(domain, pod.name, delta)

    def _delete_pod(self, name: str, delta: Delta) -> None:
        self._unusable.discard("pod", name)
        old = self._pods.pop(name, None)
        if old is None:
            return
        delta.pods[name] = (old, None)
        if not self._residents[name]:  # as it should be
            del self._residents[name]
            return
        for domain in [d for d, pod in self._domains.items() if pod == name]:
            self._set_domain(domain, None, delta)
            self._want(domain, name)

    def _set_domain(self, domain: str, pod: str | None, delta: Delta) -> None:
        old = self._domains.get(domain)
        if old == pod:
            return
        delta.domains[domain] = (old, pod)
        self._changed[domain] = self.revision
        if old is not None:
            self._residents[old] -= 1
        if pod is not None:
            self._residents[pod] += 1
        if pod is None:
            del self._domains[domain]
        else:
            self._domains[domain] = pod

    def _want(self, domain: str, pod: str) -> None:
        self._changed[domain] = self.revision
        self._wanted[domain] = pod
        self._homeless.setdefault(pod, {})[domain] = None

    def _forget_wanted(self, domain: str) -> None:
        pod = self._wanted.pop(domain, None)
        if pod is not None:
            waiting = self._homeless[pod]
            del waiting[domain]
            if not waiting:
                del self._homeless[pod]

    def _put_aside(self, kind: str, name: str, reason: str) -> None:
        self._unusable.add(SetAside(kind, name, reason, self.revision))


def _later(changed: dict[str, int], step: Mapping[str, int], changes: Iterable[Change]) -> dict[str, int]:
    """``changed``, with what these changes did to it as ``step``."""
    for change in changes:
        if isinstance(change, DeleteDomain):
            changed.pop(change.domain, None)
    changed.update(step)
    return changed
