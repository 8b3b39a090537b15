"""What a question to GDS is: one host, answered by a pod's name, by "nobody", or not at all."""

from __future__ import annotations

from typing import Protocol

from xds.errors import GdsError


class Asker(Protocol):
    """Asks GDS where one host is: `xds.lookup.client.LookupClient`, or a test's. Any number of calls may be under way.

    It neither limits, retries nor remembers: `xds.lookup.resolver` does.
    """

    shown: str
    """Where GDS is, without anything secret: for logs and errors."""

    async def ask(self, host: str) -> str | None:
        """The pod of ``host``, a lower-case host name without port and trailing dot; None when GDS says that there is
        no such domain (404).

        Raises GdsError for anything else: no connection, no answer in time, another status, an answer that is no pod's
        name. The message never holds a credential.
        """


class NotAnswered(GdsError):
    """A host isn't known and GDS can't be asked for it now. ``why`` is one word, for metrics."""

    def __init__(self, message: str, why: str) -> None:
        super().__init__(message)
        self.why = why


class Unreachable(GdsError):
    """There is no connection to GDS, whichever host it is to be asked for."""


class Refused(GdsError):
    """GDS is there, and won't answer for this host: that says nothing of others."""
