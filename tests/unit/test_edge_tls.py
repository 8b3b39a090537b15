"""The listener's part of TLS: what changes it, and what doesn't."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from structlog.testing import capture_logs

from demo.certificates import Authority
from demo.issuer import Issuer, write_flat
from xds.edge_tls import EdgeTls, Options
from xds.resources.tls import Tls
from xds.resources.types import SECRET, Update

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
