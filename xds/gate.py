"""The gate between the mirror and the edge: what the guard holds, and a rollback, stay out of the edge until released.

While something is held, two directories are kept: the edge's, and GDS's, which goes on following. How they differ is
what is held. The rules:

- A change of GDS, or a whole snapshot against what the edge has, that is over the guard's limit is held whole.
- What comes after it and is small by itself goes out: GDS spoke of those records again, in a change that is safe. A
  pod's removal waits, since at the edge domains may still be on it. After a rollback nothing goes out at all.
- When what differs is within the limit again, since GDS was put right, the hold ends by itself; a rollback never does.
  While something is held, the time of the guard's window stands still: what goes out beside it has an end, too.
- What GDS says for the first time of a domain that is known from elsewhere goes out and counts for nothing.
- Release takes GDS's newest state to the edge. Refuse only ends the alarm: nothing goes out, until the difference is
  within the limit again, or has grown by more than the limit, which is a new hold. A rollback can't be refused.
- What was kept on disk is the edge's directory until GDS answers, and what its first answer is compared with. Until
  then it may be older than what an Envoy brings, so those that come back keep what they have: `defers`. An operator's
  order to go back ends that, too. With nothing on disk, a first answer without a domain, or with fewer than are
  expected, is held, and nothing is served: Envoys that come over from another control plane may hold a full directory.
  It ends by itself when GDS has them.

No clock and no I/O: ``now`` (the wall clock), ``clock`` (monotonic) and ``remember`` are handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import msgspec
import structlog

from xds.delta import Delta, differences
from xds.difference import Difference
from xds.directory import Directory
from xds.errors import HoldError
from xds.gds.model import Change, DeleteDomain, DeletePod, PutDomain, PutPod, Snapshot, Transaction
from xds.guard import Counts, Limits, Verdict, judge
from xds.hold import Hold
from xds.pipeline import Pipeline
from xds.recent import Recent
from xds.slices import Work, cut
from xds.stake import Stake, stake
from xds.state.format import State

log = structlog.get_logger()


@dataclass(slots=True)
class _Apart:
    """GDS's directory while it isn't the edge's."""

    directory: Directory
    difference: Difference


class Gate:
    """The mirror's follower. All of its work is in slices, one at a time.

    ``remember`` is told of each change of the hold; ``began(delta)`` that the edge has its first directory: by what it
    differs from what was kept on disk, None when nothing was. ``unserved(why)``: the edge has no directory, and gets
    none before something happens.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        limits: Limits,
        *,
        now: Callable[[], float],
        clock: Callable[[], float],
        remember: Callable[[Hold | None], None] = lambda hold: None,
        began: Callable[[Delta | None], None] = lambda delta: None,
        unserved: Callable[[str], None] = lambda why: None,
    ) -> None:
        self.hold: Hold | None = None
        self._pipeline = pipeline
        self._limits = limits
        self._now = now
        self._clock = clock
        self._lately = Recent(limits.window)
        self._removed = Recent(limits.window)
        self._emptied = Recent(limits.window)
        self._remember = remember
        self._began = began
        self._unserved = unserved
        self._kept: Directory | None = None
        self._apart: _Apart | None = None
        self._heard = self._resumed = False
        self.defers = False
        """What the edge has is the disk's word alone, which may be older than what an Envoy brings."""

    @property
    def position(self) -> tuple[str, int] | None:
        """GDS's epoch and revision as they are followed; None before its first snapshot."""
        if not self._heard:
            return None
        if self._apart:
            return self._apart.directory.epoch, self._apart.directory.revision
        return self._pipeline.position

    @property
    def followed(self) -> Directory:
        """What GDS said: the edge's directory, but for what is held. For reading."""
        return self._apart.directory if self._apart else self._pipeline.directory

    @property
    def edge(self) -> Directory:
        """What the Envoys have. For reading."""
        return self._pipeline.directory

    @property
    def counts(self) -> Counts | None:
        """What a release would do now; None while that isn't known, or nothing is held."""
        return self._apart.difference.counts if self._apart else None

    def examples(self, most: int) -> list[tuple[str, str | None, str | None]]:
        """Some of what is held: (domain, pod at the edge, pod at GDS)."""
        found = self._apart.difference.domains.items() if self._apart else ()
        return [(name, edge, gds) for (name, (edge, gds)), _ in zip(found, range(most), strict=False)]

    def held_domains(self) -> list[str]:
        """The domains that are held."""
        return list(self._apart.difference.domains) if self._apart else []

    def waits(self, domain: str) -> tuple[str | None, str | None] | None:
        """Of a domain that is held: its pod at the edge, and at GDS; None for any other."""
        return self._apart.difference.domains.get(domain) if self._apart else None

    def resume(self, kept: Directory, hold: Hold | None) -> None:
        """What was on disk, and what was held then; before GDS is asked."""
        self._kept, self.hold, self._resumed = kept, hold, hold is not None
        if hold:
            log.error(f"hold.{hold.state}", reason=hold.reason, text=hold.text, revision=hold.revision, by=hold.by)

    def serving_kept(self) -> Work[None]:
        """GDS doesn't answer: the edge gets what was on disk, if it has nothing yet."""
        kept = self._kept
        if kept is not None and not self._pipeline.directory.complete:
            # After a rollback the disk's word is the operator's.
            self.defers = self.hold is None or self.hold.reason != "rollback"
            yield from self._pipeline.taking(lambda directory: directory.comparing(kept))
            self._begin(Delta({}, {}))

    def replacing(self, snapshot: Snapshot) -> Work[None]:
        first = not self._pipeline.directory.complete
        from_kept: list[Delta | None] = [None]
        yield from self._pipeline.taking(lambda directory: self._replaced(directory, snapshot, from_kept))
        self._heard = True
        if first and self._pipeline.directory.complete:
            self._begin(from_kept[0])
        yield from self._spoken()

    def applying(self, transaction: Transaction) -> Work[None]:
        """Raises HistoryGone when the transaction doesn't follow what GDS said before."""
        edge = self._pipeline.directory
        yield from self._forget()
        if self._apart and not edge.complete:
            yield from self._apart.directory.applying(transaction)
            if self._limits.begins_with(len(self._apart.directory.domains)):
                yield from self._going_out(self._apart, "GDS has domains")
        elif self._apart:
            yield from self._following(self._apart, transaction)
        elif (passing := (yield from self._passes(transaction, edge))) is not None:
            yield from self._pipeline.applying(transaction)
            yield from self._went_out(passing.domains, passing.removed, passing.emptied)
        else:
            yield from self._pipeline.taking(lambda directory: self._judged(directory, transaction))

    def releasing(self, by: str) -> Work[None]:
        """GDS's newest state goes to the edge, as differences. Raises HoldError when there is nothing to release."""
        yield from self._going_out(self._known(), f"released by {by}")
        for recent in (self._lately, self._removed, self._emptied):
            recent.clear()

    def refuse(self, by: str) -> None:
        """What is held isn't taken, and that is no alarm any more. Raises HoldError when nothing is held, or all of GDS
        is, after a rollback."""
        if self.hold and self.hold.reason == "rollback":
            raise HoldError(
                "nothing of GDS is taken after a rollback, so there is nothing to refuse: put GDS right, and then "
                "release it (`pointsman hold release`)"
            )
        apart = self._known()
        assert self.hold
        self._hold(msgspec.structs.replace(self.hold, refused=apart.difference.counts.at_stake, by=by))

    def rolling_back(self, state: State, by: str) -> Work[None]:
        """The edge gets ``state``; what GDS says meanwhile waits until it is released."""
        if not self._pipeline.directory.complete:
            raise HoldError("there is no directory yet that could be rolled back")
        text = f"rolled back to {state.epoch}:{state.revision} by {by}; GDS doesn't overwrite that until it is released"
        epoch, revision = self.position or self._pipeline.position or ("", 0)
        self._hold(Hold("rollback", text, self._now(), epoch, revision, by=by))
        yield from self._pipeline.taking(lambda directory: self._rolled_back(directory, state))
        yield from self._spoken()

    def _going_out(self, apart: _Apart, why: str) -> Work[None]:
        first = not self._pipeline.directory.complete
        yield from self._pipeline.taking(lambda directory: directory.comparing(apart.directory))
        self._end(why)
        if first:
            self._begin(None)

    def _rolled_back(self, directory: Directory, state: State) -> Work[tuple[Directory, Delta]]:
        if self._apart:
            gds = self._apart.directory
        else:
            gds = Directory()
            gds.become(directory)
        fresh, delta = yield from directory.loading(state.snapshot())
        moves = yield from differences(fresh.domains, gds.domains)
        difference = yield from Difference.of(Delta(moves, (yield from differences(fresh.pods, gds.pods))))
        self._apart = _Apart(gds, difference)
        return fresh, delta

    def _replaced(
        self, directory: Directory, snapshot: Snapshot, from_kept: list[Delta | None]
    ) -> Work[tuple[Directory, Delta] | None]:
        edge = directory if directory.complete else self._kept
        if edge is None:
            return (yield from self._first(directory, snapshot))
        yield from self._forget()
        fresh, delta = yield from edge.loading(snapshot)
        difference = yield from Difference.of(delta)
        held = self._stays(difference, edge, fresh)
        if held:
            self._apart = _Apart(fresh, difference)
        else:
            yield from self._all_went_out(difference)
            self._end("GDS is within the guard's limit again")
        if edge is directory:
            return None if held else (fresh, delta)
        from_kept[0] = Delta({}, {}) if held else delta
        return (yield from directory.comparing(edge if held else fresh))

    def _first(self, directory: Directory, snapshot: Snapshot) -> Work[tuple[Directory, Delta] | None]:
        fresh, delta = yield from directory.loading(snapshot)
        if self._limits.begins_with(len(fresh.domains)):
            self._end("GDS has domains")
            return fresh, delta
        self._apart = _Apart(fresh, Difference())
        if self.hold is None:
            why = _nothing_known(len(fresh.domains), self._limits.least)
            self._hold(Hold("empty", why, self._now(), fresh.epoch, fresh.revision))
            self._unserved(why)
        return None

    def _judged(self, directory: Directory, transaction: Transaction) -> Work[tuple[Directory, Delta] | None]:
        if not directory.lacks(transaction):
            return None
        draft, delta = yield from directory.drafting(transaction)
        difference = yield from Difference.of(delta)
        if not self._stays(difference, directory, draft):
            yield from self._all_went_out(difference)
            return draft, delta
        self._apart = _Apart(draft, difference)
        return None

    def _following(self, apart: _Apart, transaction: Transaction) -> Work[None]:
        edge, gds = self._pipeline.directory, apart.directory
        passing = yield from self._passes(transaction, edge)
        before = gds.revision
        step = yield from gds.applying(transaction)
        yield from apart.difference.following(step)
        if gds.revision == before or (self.hold and self.hold.reason == "rollback"):
            return
        if passing is not None:
            changes: list[Change] = [one for one in transaction.changes if not isinstance(one, DeletePod)]
            changes = [*_pods_needed(changes, gds, edge), *changes]
            touched: set[tuple[str, str]] = set(_names(changes))
            yield from self._pipeline.changing(lambda held: _overlaid(held, transaction, changes, touched))
            yield from self._went_out(passing.domains, passing.removed, passing.emptied)
            for kind, name in touched:
                if kind == "domain":
                    apart.difference.put(name, edge.domains.get(name), gds.domains.get(name))
                else:
                    apart.difference.put_pod(name, edge.pods.get(name), gds.pods.get(name))
        if not self._stays(apart.difference, edge, gds):
            yield from self._all_went_out(apart.difference)
            yield from self._going_out(apart, "GDS is within the guard's limit again")

    def _passes(self, transaction: Transaction, edge: Directory) -> Work[Stake | None]:
        """What it puts at stake when it needn't be made to be judged, and passes."""
        if not self._limits.enabled or transaction.first_word:
            return Stake()
        if not self._limits.allows(len(transaction.changes), len(edge.domains)):
            return None
        found = yield from stake(transaction.changes, edge)
        return None if found is None or self._verdict(found.counts, found.domains, found.emptied, edge) else found

    def _verdict(
        self, counts: Counts, domains: Collection[str], emptied: Collection[str], edge: Directory
    ) -> Verdict | None:
        return judge(
            counts,
            len(edge.domains),
            self._limits,
            pods=len(edge.pods),
            lately=self._lately.beside(domains),
            removed=self._removed.beside(domains),
            emptied=self._emptied.beside(emptied),
        )

    def _forget(self) -> Work[None]:
        if self.hold is None:
            for recent in (self._lately, self._removed, self._emptied):
                yield from recent.forget(self._clock())

    def _went_out(self, domains: Iterable[str], removed: Iterable[str], emptied: Iterable[str]) -> Work[None]:
        for recent, names in ((self._lately, domains), (self._removed, removed)):
            for some in cut(names):
                recent.add(some, self._clock())
                yield
        self._emptied.add(emptied, self._clock())

    def _all_went_out(self, difference: Difference) -> Work[None]:
        if self._limits.enabled:
            moved = (name for name, (old, _) in difference.domains.items() if old is not None)
            removed = (name for name, (old, new) in difference.domains.items() if old is not None and new is None)
            yield from self._went_out(moved, removed, difference.emptied)

    def _stays(self, difference: Difference, edge: Directory, gds: Directory) -> bool:
        """Whether what differs is held, or stays so; begins the hold, and the alarm anew after a refusal."""
        hold = self.hold
        if hold and hold.reason == "rollback":
            return True
        counts = difference.counts
        if hold and hold.reason not in ("many", "endpoints"):
            verdict = judge(counts, len(edge.domains), self._limits, pods=len(edge.pods))
        else:
            verdict = self._verdict(counts, difference.domains, difference.emptied, edge)
            if hold and self._resumed and (counts.at_stake or counts.pods_emptied):
                verdict = verdict or Verdict(hold.reason, hold.text)  # what went out before it isn't known any more
        if verdict is None:
            return False
        grown = counts.at_stake - (hold.refused or 0) if hold else 0
        if hold is None or (hold.refused is not None and grown > self._limits.most(len(edge.domains))):
            self._alarm(verdict, gds)
        return True

    def _alarm(self, verdict: Verdict, gds: Directory) -> None:
        self._hold(Hold(verdict.reason, verdict.text, self._now(), gds.epoch, gds.revision))

    def _known(self) -> _Apart:
        if self.hold is None:
            raise HoldError("nothing is held")
        if self._apart is None:
            raise HoldError("GDS hasn't answered since the start, so what it would bring isn't known: try again then")
        return self._apart

    def _hold(self, hold: Hold) -> None:
        self.hold = hold
        if self._pipeline.directory.complete or self._kept is not None:
            self._remember(hold)  # else there is nothing on disk either that it could be of
        log.error(f"hold.{hold.state}", reason=hold.reason, text=hold.text, revision=hold.revision, by=hold.by)

    def _end(self, why: str) -> None:
        self._apart, self._resumed = None, False
        if self.hold:
            log.warning("hold.ended", reason=self.hold.reason, why=why)
            self.hold = None
            self._remember(None)

    def _spoken(self) -> Work[None]:
        """GDS, or an operator, has said what the edge is to have: all of that is published."""
        if self.defers:
            yield from self._pipeline.finishing()
            self.defers = False

    def _begin(self, delta: Delta | None) -> None:
        self._kept = None
        self._began(delta)


def _nothing_known(domains: int, least: int) -> str:
    has, ends = "no domain that can be routed", "a domain"
    if least > 1:
        has = f"{domains:,} domains that can be routed, {least:,} are expected (guard.least)"
        ends = f"{least:,} domains"
    return (
        f"GDS has {has}, and nothing is known from before: an edge that has more would lose them, so no Envoy is "
        f"answered. That ends when GDS has {ends}; if it is right as it is, release it (`pointsman hold release`, or "
        "setting guard.allow_empty where GDS may be empty)"
    )


def _names(changes: Iterable[Change]) -> Iterable[tuple[str, str]]:
    for change in changes:
        match change:
            case PutDomain(domain, _) | DeleteDomain(domain):
                yield "domain", domain
            case PutPod(pod):
                yield "pod", pod.name


def _overlaid(edge: Directory, of: Transaction, changes: list[Change], touched: set[tuple[str, str]]) -> Delta:
    delta = edge.overlay(of.epoch, of.revision, changes)
    touched |= {("domain", name) for name in delta.domains} | {("pod", name) for name in delta.pods}
    return delta


def _pods_needed(changes: Iterable[Change], gds: Directory, edge: Directory) -> list[Change]:
    """The pods that these domains go to and that the edge doesn't have, since they came with what is held."""
    names = {change.pod: None for change in changes if isinstance(change, PutDomain)}
    return [PutPod(gds.pods[name]) for name in names if name in gds.pods and name not in edge.pods]
