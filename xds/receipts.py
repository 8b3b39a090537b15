"""The receipt of every change of GDS: when it came, when it was published, and which Envoys have it since when.

A publish is known by its mark, the number of the cache's publish that completed it; it carries one revision, or several
that were coalesced. Of each Envoy one number is kept, the newest mark up to which it has everything (`xds.takers`). So
an ACK costs the publishes that it settles and no more, whatever is remembered.

An Envoy that leaves without a publish is still waited for until it is back with it, or its grace time is over: without
the control plane it goes on serving by what it has.

Pure: what happened is told, with its time in seconds of a clock that never goes back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice

from xds.convergence import Convergence
from xds.delta import Key
from xds.milestones import Milestones
from xds.receipt import SHOWN, Event, Nack, Publish, Receipt, Standing, State
from xds.takers import Taker, Takers

Acked = Callable[[Publish, Hashable, float], None]
"""An Envoy, by its key, has all of a publish since then."""
Tell = Callable[[Event, Receipt | Publish | Nack | None, str], None]
"""What happened: its name, what it is about, the node."""

_LOOKED_AT = 2_000
"""Receipts that are looked at, at most, for one that isn't remembered."""


class Receipts:
    """``keep``: receipts that are remembered. ``grace``: seconds for which an Envoy that left without a publish is
    waited for. ``bad()``: the records that are withheld now because an Envoy rejected them, with the reason.
    ``unused(key, revision)``: whether what that revision said of the record isn't used now. ``unused_at(revision)``:
    whether that may be so of any record of it; with None, of any at all. ``held()``: whether
    something of GDS isn't for the edge now. ``searching()``: whether a record that an Envoy rejected is searched for,
    so that some are withheld, and others used, only to try them."""

    def __init__(
        self,
        keep: int = 1_000,
        *,
        grace: float = 0.0,
        tell: Tell = lambda event, about, node: None,
        acked: Acked = lambda publish, key, at: None,
        bad: Callable[[], Mapping[Key, str]] = dict,
        unused: Callable[[Key, int], bool] = lambda key, revision: False,
        unused_at: Callable[[int | None], bool] = lambda revision: False,
        held: Callable[[], bool] = lambda: False,
        searching: Callable[[], bool] = lambda: False,
    ) -> None:
        self.convergence = Convergence()
        self.epoch = ""
        self.revision = 0
        """What is published of which epoch."""
        self._keep = keep
        self._tell = tell
        self._acked = acked
        self._bad = bad
        self._unused = unused
        self._unused_at = unused_at
        self._held = held
        self._searching = searching
        self._withheld: frozenset[Key] = frozenset()
        self._receipts: dict[tuple[str, int], Receipt] = {}
        self._unpublished: dict[tuple[str, int], Receipt] = {}
        self._latest: Publish | None = None
        self._open: list[Publish] = []
        """Those that some Envoy lacks, by their mark."""
        self._doubtful: list[Publish] = []
        self._takers = Takers(grace)
        self._milestones = Milestones()
        self._serial = 0

    def __len__(self) -> int:
        return len(self._receipts)

    @property
    def envoys(self) -> int:
        return len(self._takers)

    @property
    def behind(self) -> Collection[Hashable]:
        """The Envoys that lack something of the latest publish, or haven't said yet what they have."""
        return self._takers.behind

    @property
    def latest(self) -> Publish | None:
        return self._latest

    def name_of(self, number: int) -> str:
        """The node id of an Envoy that is or was here."""
        return self._takers.name_of(number)

    def position(self, taker: Hashable) -> int | None:
        """The newest mark up to which it has everything; -1 while it hasn't said; None for one that isn't here."""
        found = self._takers.get(taker)
        return None if found is None else found.position

    def joined_at(self, taker: Hashable) -> float | None:
        """When it came; None for one that isn't here."""
        found = self._takers.get(taker)
        return None if found is None else found.joined

    # What GDS says

    def received(self, receipt: Receipt) -> None:
        self._serial += 1
        receipt.number = self._serial
        if self._withheld != (withheld := frozenset(self._bad())):
            self._withheld = withheld
        receipt.bad_before = self._withheld  # one object for all that come meanwhile
        key = receipt.epoch, receipt.revision
        self._receipts.pop(key, None)
        self._receipts[key] = self._unpublished[key] = receipt
        while len(self._receipts) > self._keep:
            oldest = next(iter(self._receipts))
            del self._receipts[oldest]
            self._unpublished.pop(oldest, None)
        self._tell("received", receipt, "")

    def forget(self, receipt: Receipt) -> None:
        """It wasn't taken after all: it doesn't follow what is held, or was held already."""
        key = receipt.epoch, receipt.revision
        if self._receipts.get(key) is receipt and receipt.publish is None:
            del self._receipts[key]
            self._unpublished.pop(key, None)

    def hold(self, receipt: Receipt) -> None:
        """It isn't for the edge until it is released."""
        if receipt.publish is None:
            receipt.held = receipt.was_held = True
            self._tell("held", receipt, "")

    def released(self) -> None:
        """What was held is taken: with the next publish it is out, or with the one before."""
        for receipt in self._unpublished.values():
            receipt.held = False
        self.nothing_new()

    def nothing_new(self) -> None:
        """What was received and isn't held changed nothing that is published."""
        if self._latest is not None:
            self._carry(self._latest, self.epoch, self.revision)

    # What is published

    def published(self, epoch: str, revision: int, mark: int, at: float) -> None:
        """Everything up to this revision is published, with the cache's publish ``mark`` at the latest."""
        if (epoch != self.epoch or revision < self.revision) and self._latest is not None:
            self._undo(epoch, revision)
        self.epoch, self.revision = epoch, revision
        self.over(at)
        missing = sum(absent.position < mark for absent in self._takers.absent)
        envoys, pending = len(self._takers) + missing, self._takers.published(mark) + missing
        publish = Publish(mark, at, revision, envoys, pending, missing, epoch)
        self._latest = publish
        self._milestones.note(mark, at)
        carried = self._carry(publish, epoch, revision)
        times = [(receipt.kind, receipt.received) for receipt in carried if not receipt.was_held]
        publish.received = min((at for kind, at in times if kind == "change"), default=None)
        publish.snapshot = min((at for kind, at in times if kind == "snapshot"), default=None)
        self._tell("published", publish, "")
        if pending:
            self._open.append(publish)
            del self._open[: -self._keep]
        else:
            self._complete(publish, at)

    def _undo(self, epoch: str, revision: int) -> None:
        """The edge goes back to this one, or to another GDS: what isn't in it is to be published anew, if ever."""
        for key, receipt in self._receipts.items():
            if receipt.publish is not None and (receipt.epoch != epoch or receipt.revision > revision):
                receipt.publish, receipt.undone, receipt.was_held = None, True, True
                self._unpublished[key] = receipt

    def _carry(self, publish: Publish, epoch: str, revision: int) -> list[Receipt]:
        carried = []
        for key, receipt in [*self._unpublished.items()]:
            if receipt.epoch == epoch and receipt.revision <= revision and not receipt.held:
                receipt.publish, receipt.undone = publish, False
                carried.append(receipt)
                del self._unpublished[key]
                if receipt.was_held:
                    self._tell("released", receipt, "")
        return carried

    # What the Envoys say

    def joined(self, key: Hashable, node: str, at: float, part: str = "") -> None:
        """``part``: of the node, when an Envoy takes each part over a stream of its own."""
        taker = self._takers.joined(key, node, part, at, self._latest.mark if self._latest else 0)
        for publish in self._open:
            publish.envoys += 1
            publish.pending += 1
        absent = self._takers.absent.returned(taker.who)
        if absent is not None:
            for publish in self._after(absent.position):
                publish.missing -= 1
            taker.follows(absent.position)
            self._same(absent.position, at)
        self._tell("connected", None, node)

    def _same(self, position: int, at: float) -> None:
        """Two that counted among the open publishes, one of them up to ``position``, are one Envoy."""
        for publish in self._after(position):
            publish.envoys -= 1
            self._settle(publish, at)

    def left(self, key: Hashable, at: float) -> None:
        taker = self._takers.left(key)
        if taker is None:
            return
        follower = self._takers.follower(taker, at)
        if follower is None:
            self._miss(taker, at)
        else:
            follower.follows(taker.had)
            self._same(taker.position, at)
        self._tell("disconnected", None, taker.node)

    def _miss(self, taker: Taker, at: float) -> None:
        lacked = self._after(taker.position)
        for publish in lacked:
            if publish.mark > taker.had:
                publish.missing += 1
            else:  # it came after that, and never said what it has
                publish.left += 1
                self._settle(publish, at)
        if taker.position >= 0 or taker.followed or any(publish.mark > taker.had for publish in lacked):
            self._takers.leaves_for_a_time(taker, at)
            self.over(at)

    def over(self, at: float) -> None:
        """Envoys whose grace time is over aren't waited for any more."""
        for absent in self._takers.absent.over(at):
            for publish in self._after(absent.position):
                publish.missing -= 1
                publish.left += 1
                self._settle(publish, at)

    def reached(self, key: Hashable, mark: int, at: float, *, acked: bool = True, serves: bool = True) -> None:
        """It has everything up to ``mark``. ``acked``: by an ACK; else it turned out to lack nothing. ``serves``: it
        has asked for routes."""
        taker = self._takers.get(key)
        if taker is None:
            return
        before = taker.position
        self._takers.reached(key, mark, self._latest.mark if self._latest else 0, serves=serves)
        if mark <= before:
            return
        settled = [publish for publish in self._after(before) if publish.mark <= mark]
        for publish in settled:
            publish.pending -= 1
            if acked and taker.joined <= publish.at:
                self._note_ack(publish, taker, at)
                self._acked(publish, key, at)
            self._look_whether_complete(publish, at)

    def refused(self, key: Hashable, mark: int, kind: str, reason: str, at: float) -> None:
        """It NACKed a response that carried everything up to ``mark``."""
        taker = self._takers.get(key)
        if taker is None:
            return
        nack = Nack(taker.number, kind, reason, at, taker.who)
        for publish in self._after(taker.position):
            if publish.mark <= mark:
                publish.note_nack(nack, partial(self.is_mended, publish))
        self._tell("nack", nack, taker.node)

    def _after(self, position: int) -> list[Publish]:
        """The open ones beyond it: of an Envoy that isn't far behind they are the last few."""
        place = len(self._open)
        while place and self._open[place - 1].mark > position:
            place -= 1
        return self._open[place:]

    def _note_ack(self, publish: Publish, taker: Taker, at: float) -> None:
        publish.numbers.append(taker.number)
        publish.seconds.append(at - publish.at)
        publish.last_ack = at
        if publish.first_ack is None:
            publish.first_ack = at
            self._tell("first_ack", publish, taker.node)
        self.convergence.note(at, at - publish.at)

    def _settle(self, publish: Publish, at: float) -> None:
        publish.pending -= 1
        self._look_whether_complete(publish, at)

    def _look_whether_complete(self, publish: Publish, at: float) -> None:
        if not publish.pending:
            self._open.remove(publish)
            self._complete(publish, at)

    def _complete(self, publish: Publish, at: float) -> None:
        publish.completed = at
        if self._searching():
            publish.doubtful = True
            self._doubtful.append(publish)
        else:
            self._judge(publish)

    def searched(self) -> None:
        """A search may be over: what every Envoy has by now is judged by what it found."""
        if self._doubtful and not self._searching():
            doubtful, self._doubtful = self._doubtful, []
            for publish in doubtful:
                publish.doubtful = False
                self._judge(publish)

    def _judge(self, publish: Publish) -> None:
        bad = self._bad()
        for receipt in self._carried(publish) if bad else ():
            named = {(move.kind, move.name) for move in receipt.first}
            whole = receipt.changes <= len(receipt.first)
            for key, reason in bad.items():  # what was withheld before it came is its own only if it said that again
                if key in named or not (whole or key in receipt.bad_before):
                    receipt.note_bad(key, reason)
        self._tell("complete", publish, "")

    def _carried(self, publish: Publish) -> Iterator[Receipt]:
        return (receipt for receipt in self._receipts.values() if receipt.publish is publish)

    # What is asked

    def newest_first(self, before: int | None = None) -> Iterator[Receipt]:
        """The receipts that are remembered, of all epochs; ``before``: those that came before this number."""
        found = reversed(self._receipts.values())
        return (receipt for receipt in found if before is None or receipt.number < before)

    @property
    def waiting_since(self) -> float | None:
        """Since when the oldest revision that isn't published waits for that; None when none does."""
        return next((receipt.received for receipt in self._unpublished.values() if not receipt.undone), None)

    @property
    def joining(self) -> int:
        """Envoys that haven't said yet what they have."""
        return len(self._takers.joining)

    def have(self, publish: Publish | None) -> int:
        """How many of the Envoys that are connected have it, of those that have asked for routes."""
        return 0 if publish is None else self._takers.having(publish.mark)

    def late(self, since: float) -> list[Hashable]:
        """The Envoys that are connected and lack something that was published by then, since when they were here."""
        mark = self._milestones.before(since)
        return [] if mark is None else [*self._takers.lacking(mark, since)]

    def missing(self, publish: Publish | None, most: int = SHOWN) -> list[str]:
        """The Envoys that left without it and may be back, at most so many."""
        if publish is None or not publish.missing:
            return []
        return [*islice((absent.node for absent in self._takers.absent if absent.position < publish.mark), most)]

    def lacking(self, publish: Publish | None, most: int = SHOWN) -> list[str]:
        """The Envoys that are connected without it, at most so many."""
        if publish is None or publish.pending == publish.missing:
            return []
        return [*islice(dict.fromkeys(self._takers.without(publish.mark)), most)]

    def is_mended(self, publish: Publish, nack: Nack) -> bool:
        """The Envoy that rejected something of it has all of it by now, or is gone for good."""
        return not publish.pending or not self._takers.lacks(nack.who, publish.mark)

    def is_rejected(self, publish: Publish) -> bool:
        """An Envoy that rejected something of it lacks it still."""
        return any(not self.is_mended(publish, nack) for nack in publish.nacks.values())

    def standing(self, revision: int, least: int = 0, epoch: str = "") -> Standing:
        """How a revision of the epoch that is published stands. It isn't complete before ``least`` Envoys have it.
        ``epoch``: in which there was a receipt of it, when it is that one that is meant."""
        found = self._standing(revision, epoch)
        return replace(found, state="published") if found.complete and self.have(found.publish) < least else found

    def _standing(self, revision: int, meant: str) -> Standing:
        epoch = self.epoch or next(reversed(self._receipts), ("", 0))[0]  # before the first publish
        receipt = self._receipts.get((meant or epoch, revision))
        joining = self.joining
        if receipt is None:
            if meant and meant != epoch:
                return Standing("rolled_back", None, None, joining)
            if revision > self.revision or self._latest is None:
                return Standing("expected", None, None, joining)
            publish = self._carrier(revision)
            if self._held():  # it may be this one: nobody remembers
                return Standing("held", None, publish, joining)
            if publish.pending or publish.doubtful or joining:
                return Standing("published", None, publish, joining)
            return Standing("set_aside" if self._unused_at(revision) else "complete", None, publish, joining)
        return Standing(self._state_of(receipt, joining), receipt, receipt.publish, joining)

    def state_of(self, receipt: Receipt, joining: int = 0, least: int = 0) -> State:
        """``joining``: Envoys that haven't said yet what they have. It isn't complete before ``least`` have it."""
        state = self._state_of(receipt, joining)
        return "published" if state == "complete" and self.have(receipt.publish) < least else state

    def _state_of(self, receipt: Receipt, joining: int) -> State:
        if receipt.undone:
            return "rolled_back"
        if receipt.publish is None:
            return "held" if receipt.held else "received"
        if receipt.publish.pending or receipt.publish.doubtful or joining:
            return "published"
        if next(self._still_bad(receipt), None) is not None or (receipt.more_bad and self._unused_at(None)):
            return "set_aside"
        # What a search for a bad record withheld for a time was published again with a later publish.
        return "published" if receipt.bad and self._latest and self._latest.pending else "complete"

    def unused_of(self, receipt: Receipt) -> tuple[list[tuple[Key, str]], int]:
        """Its records that aren't used now, with the reason, at most SHOWN; and how many more there may be. Of those
        beyond KEPT it isn't known which are used by now."""
        still = [*self._still_bad(receipt)]
        unknown = receipt.more_bad if receipt.more_bad and self._unused_at(None) else 0
        return [(key, receipt.bad[key]) for key in still[:SHOWN]], max(0, len(still) - SHOWN) + unknown

    def _still_bad(self, receipt: Receipt) -> Iterator[Key]:
        withheld = self._bad() if receipt.bad else {}
        return (key for key in receipt.bad if key in withheld or self._unused(key, receipt.revision))

    def _carrier(self, revision: int) -> Publish:
        """A publish that surely has a revision of which there is no receipt any more: that of a later one, an early one
        where few looks find it. Whoever waits for such a revision asks for it four times a second."""
        assert self._latest is not None
        first = islice(self._later(self._receipts.values(), revision), SHOWN)
        if found := min(first, key=_mark, default=None):
            return found
        return min(self._later(reversed(self._receipts.values()), revision), key=_mark, default=self._latest)

    def _later(self, receipts: Iterable[Receipt], revision: int) -> Iterator[Publish]:
        for receipt in islice(receipts, _LOOKED_AT):
            if receipt.epoch == self.epoch and receipt.revision > revision and receipt.publish is not None:
                yield receipt.publish


def _mark(publish: Publish) -> int:
    return publish.mark
