"""The listener's part of TLS: what changes it, and what doesn't."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from structlog.testing import capture_logs

from demo.certificates import Authority
from demo.issuer import Issuer, replace, write_flat
from xds.certificates.tickets import ticket_keys
from xds.edge_tls import EdgeTls, Options
from xds.protocol.state import Settled
from xds.resources.secrets import ticket_secret
from xds.resources.tls import TICKETS, Tls
from xds.resources.types import SECRET, Resource, Update, resource

CA = Issuer()


async def test_the_order_of_the_names_in_a_renewed_certificate_does_not_change_the_listener(tmp_path: Path) -> None:
    shown: list[str] = []
    changed: list[Tls] = []

    def publish(update: Update) -> None:
        shown.extend(name for name in update.get(SECRET, {}) if name == "edge")

    write_flat(tmp_path, "edge", CA.issue("b.test", "a.test"))
    tls = EdgeTls(Options(tmp_path), publish, changed.append, lambda host: False)
    tls.start()
    task = asyncio.create_task(tls.run())
    try:
        for names, times in ((("a.test", "b.test"), 2), (("a.test", "c.test"), 3)):
            async with asyncio.timeout(20):
                await asyncio.sleep(0.5)
                write_flat(tmp_path, "edge", CA.issue(*names))
                while len(shown) < times:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert [made.server_names for made in changed] == [("a.test", "c.test")]


@pytest.mark.parametrize(("names", "said"), [(["127.0.0.1"], 1), (["127.0.0.1", "a.test"], 0)])
def test_a_certificate_for_addresses_alone_is_said_to_hold_no_host_off(
    tmp_path: Path, names: list[str], said: int
) -> None:
    Authority().issue(tmp_path, "edge", names, ExtendedKeyUsageOID.SERVER_AUTH)
    with capture_logs() as logs:
        EdgeTls(Options(tmp_path), lambda update: None, lambda tls: None, lambda host: False).start()
    assert len([entry for entry in logs if "edge.misdirected has no effect" in entry.get("reason", "")]) == said


@contextlib.asynccontextmanager
async def edge(
    options: Options, clock: Callable[[], float] = time.time
) -> AsyncIterator[tuple[EdgeTls, list[Resource]]]:
    """An edge that runs, and the secrets that it published."""
    published: list[Resource] = []

    def publish(update: Update) -> None:
        published.extend(each for each in update[SECRET].values() if each is not None)

    tls = EdgeTls(options, publish, lambda made: None, lambda host: False, clock=clock)
    tls.start()
    task = asyncio.create_task(tls.run())
    try:
        await tls.folder.complete(20)
        yield tls, published
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(ready: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not ready():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_service_certificate_that_an_envoy_rejects_gives_way_to_the_one_before(tmp_path: Path) -> None:
    write_flat(tmp_path, "edge", CA.issue("a.test"))
    async with edge(Options(tmp_path)) as (tls, published):

        def shown() -> list[Resource]:
            return [each for each in published if each.name == "edge"]

        await asyncio.sleep(0.5)
        first = shown()[-1]
        write_flat(tmp_path, "edge", CA.issue("a.test"))
        await until(lambda: shown()[-1].version != first.version)
        tls.settled(Settled(SECRET, {"edge": shown()[-1].version}, "Failed to load certificate chain"))
        await until(lambda: shown()[-1].version == first.version)
        assert tls.index.aside["edge"].kind == "envoy"


async def test_the_keys_of_tickets_are_published_anew_when_their_time_comes_and_of_another_secret(
    tmp_path: Path,
) -> None:
    write_flat(tmp_path, "edge", CA.issue("a.test"))
    secret = tmp_path / "tickets"
    secret.write_bytes(b"1" * 32)
    began = time.monotonic()
    options = Options(tmp_path, ticket_secret=secret, ticket_rotation=60)

    def clock() -> float:
        """Two seconds before a window's end, and after that two seconds a minute."""
        passed = time.monotonic() - began
        return 1_800_000_058.0 + passed + 58.0 * int(passed // 2)

    async with edge(options, clock) as (_, published):

        def keys() -> list[Resource]:
            return [each for each in published if each.name == TICKETS]

        first = keys()[0]
        await until(lambda: keys()[-1].version != first.version)
        current = ticket_keys(b"1" * 32, clock(), 60)
        assert keys()[-1].version == resource(SECRET, TICKETS, bytes(ticket_secret(TICKETS, current))).version
        replace(secret, b"2" * 32)
        await until(lambda: keys()[-1].version in _versions(b"2" * 32, clock()))


def _versions(secret: bytes, now: float) -> set[str]:
    """Of the keys of now, and of the window before."""
    made = (bytes(ticket_secret(TICKETS, ticket_keys(secret, when, 60))) for when in (now, now - 60))
    return {resource(SECRET, TICKETS, each).version for each in made}
