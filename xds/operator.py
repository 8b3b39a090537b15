"""What an operator may ask and order: what is held, its release or refusal, and going back to an earlier state.

Each order is logged, whatever comes of it: what, who says that they are, from where.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import Any

from xds.audit import Audit, Outcome
from xds.errors import HoldError, OrderError, PointsmanError
from xds.lookup.learner import Learner
from xds.slices import Work
from xds.standing import Standing
from xds.state.folder import Kept, StateFolder

EXAMPLES = 20
"""Domains that are shown of what is held."""


@dataclass(frozen=True, slots=True)
class Caller:
    """``name`` is what the caller says of itself; ``address`` is where it comes from."""

    name: str
    address: str

    def __str__(self) -> str:
        return f"{self.name} at {self.address}"


class Operator:
    """Orders raise HoldError, or StateError, when they can't be done; then the edge is as it was. ``learner``: where
    GDS is asked for one host at a time."""

    def __init__(self, standing: Standing, audit: Audit, learner: Learner | None = None) -> None:
        self._standing = standing
        self._learner = learner
        self._audit = audit
        self._gate = standing.gate
        self._reading = asyncio.Lock()

    def hold(self) -> dict[str, Any]:
        """What is held and why; ``changes`` is what a release would do now, None while GDS hasn't answered."""
        hold, counts = self._gate.hold, self._gate.counts
        if hold is None:
            return {"state": "none"}
        position = self._gate.position
        return {
            "state": hold.state,
            "reason": hold.reason,
            "text": hold.text,
            "since": hold.since,
            "by": hold.by,
            "held_at": {"epoch": hold.epoch, "revision": hold.revision},
            "gds": {"epoch": position[0], "revision": position[1]} if position else None,
            "changes": asdict(counts) if counts else None,
            "examples": [
                {"domain": name, "edge": edge, "gds": gds} for name, edge, gds in self._gate.examples(EXAMPLES)
            ],
        }

    def held(self) -> list[str]:
        """The domains that are held back."""
        return self._gate.held_domains()

    def waits(self, domain: str) -> tuple[str | None, str | None] | None:
        """Of a domain that is held back: its pod at the edge, and at GDS; None for any other."""
        return self._gate.waits(domain)

    async def release(self, caller: Caller) -> None:
        position = self._gate.position
        taken = position[1] if position else None
        await self._ordered("hold.release", caller, self._gate.releasing(str(caller)), taken)

    async def refuse(self, caller: Caller) -> None:
        await self._ordered("hold.refuse", caller, self._refusing(caller))

    async def states(self, most: int, before: tuple[int, int] | None = None) -> list[Kept]:
        """The moments that can be gone back to, the newest first; ``before``: see `StateFolder.kept`."""
        async with self._reading:  # the disk, which nobody shall have us do many times at once
            return await asyncio.to_thread(self._folder().kept, most, before)

    async def roll_back(self, revision: int, epoch: str, caller: Caller) -> None:
        """``epoch`` may be empty: the newest of that revision."""
        self._say("asked", "rollback", caller, revision=revision)
        try:
            state = await asyncio.to_thread(self._folder().at, revision, epoch)
        except PointsmanError as error:
            self._say("refused", "rollback", caller, reason=str(error))
            raise
        await self._ordered("rollback", caller, self._gate.rolling_back(state, str(caller)), revision)

    async def refresh(self, host: str, caller: Caller) -> tuple[str | None, str | None]:
        """Has GDS asked for ``host``, a domain, now. The pod that it had and the one that it has, None for nobody; by
        then the edge has it. Raises OrderError where GDS is watched, GdsError when it doesn't answer, and HoldError
        when the edge doesn't take what it says."""
        try:
            if self._learner is None:
                raise OrderError("GDS is watched (setting gds.mode), so its changes come by themselves")
            was = self._learner.home(host)
            pod = await self._learner.refresh(host)
            self._check_taken(host, pod)
        except PointsmanError as error:
            self._say("refused", "refresh", caller, reason=str(error))
            raise
        self._say("done", "refresh", caller, reason=f"{host}: {was or 'nobody'} → {pod or 'nobody'}")
        return was, pod

    def _check_taken(self, host: str, pod: str | None) -> None:
        """Who ordered it would take the customer for moved. Raises HoldError."""
        if differs := self._gate.waits(host):
            edge, gds = (pod or "nobody" for pod in differs)
            why = self._gate.hold.text if self._gate.hold else ""
            raise HoldError(
                f"{host}: GDS says {gds}, and that is held, the edge stays with {edge}: {why}; release it if it is "
                "right (`pointsman hold show`)"
            )
        if pod is not None and pod not in self._gate.edge.pods:
            raise HoldError(
                f"{host}: GDS says {pod}, which isn't in the pods file (setting lookup.pods): the host is answered 503 "
                "until it is, and then goes there by itself"
            )
        if unused := self._gate.edge.unused("domain", host):
            raise HoldError(f"{host}: what GDS says isn't used: {unused.reason}")

    def _folder(self) -> StateFolder:
        if self._standing.folder is None:
            raise HoldError("no states are kept: setting state.enabled is off")
        return self._standing.folder

    def _refusing(self, caller: Caller) -> Work[None]:
        yield
        self._gate.refuse(str(caller))

    async def _ordered(self, order: str, caller: Caller, work: Work[None], revision: int | None = None) -> None:
        try:
            await self._standing.in_slices(work)
        except PointsmanError as error:
            self._say("refused", order, caller, reason=str(error), revision=revision)
            raise
        self._say("done", order, caller, revision=revision)

    def _say(
        self, outcome: Outcome, order: str, caller: Caller, *, reason: str = "", revision: int | None = None
    ) -> None:
        self._audit.note(order, outcome, caller.name, caller.address, reason=reason, revision=revision)
