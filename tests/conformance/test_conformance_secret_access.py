"""Who may have which secret, over mTLS: case 42."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from conformance_mtls import Certificates
from conformance_server import Server
from structlog.testing import capture_logs
from xds_client import EDS, SDS, Client, resources

from xds.server.access import Access, rule

Serve = Callable[..., AbstractContextManager[Server]]


@pytest.fixture
def guarded(serve: Serve, certificates: Certificates) -> Iterator[Server]:
    """Identity ``shop`` may have the secret ``shop``, identity ``bank`` every secret."""
    access = Access((rule("shop", secrets=("shop",)), rule("bank")))
    with serve(credentials=certificates.server, access=access) as server:
        server.publish(SDS, shop="shop-1", bank="bank-1")
        yield server


def test_c42_a_secret_that_an_identity_may_not_have_is_treated_as_missing(
    guarded: Server, certificates: Certificates
) -> None:
    with Client(guarded.port, certificates.client("shop")) as client:
        stream = client.delta(probe=EDS)
        heard = stream.ask(SDS, "shop", "bank")
        assert (heard.contents, heard.removed) == ({"shop": "shop-1"}, ["bank"])
        guarded.publish(SDS, bank="bank-2")
        stream.quiet()
        guarded.publish(SDS, bank=None)
        stream.quiet()
        guarded.publish(SDS, bank="bank-3", shop="shop-2")
        assert resources(stream.settle(), SDS) == {"shop": "shop-2"}


def test_c42_over_sotw_a_secret_that_an_identity_may_not_have_never_comes(
    guarded: Server, certificates: Certificates
) -> None:
    with Client(guarded.port, certificates.client("shop")) as client:
        stream = client.sotw(probe=EDS)
        assert stream.ask(SDS, "shop", "bank").contents == {"shop": "shop-1"}
        guarded.publish(SDS, bank="bank-2", shop="shop-2")
        assert resources(stream.settle(), SDS) == {"shop": "shop-2"}


@pytest.mark.parametrize("of", [None, SDS], ids=["aggregated", "own"])
def test_c42_a_forbidden_and_a_missing_secret_are_told_alike(
    guarded: Server, certificates: Certificates, of: str | None
) -> None:
    with Client(guarded.port, certificates.client("shop")) as client:
        heard = client.delta(of=of).ask(SDS, "bank", "missing")
        assert (heard.contents, sorted(heard.removed)) == ({}, ["bank", "missing"])


def test_c42_who_may_have_it_gets_it(guarded: Server, certificates: Certificates, variant: str) -> None:
    with Client(guarded.port, certificates.client("bank")) as client:
        stream = client.stream(variant, probe=EDS)
        assert stream.ask(SDS, "shop", "bank").contents == {"shop": "shop-1", "bank": "bank-1"}
        guarded.publish(SDS, bank="bank-2")
        assert resources(stream.settle(), SDS) == {"bank": "bank-2"}


def test_c42_asking_for_a_forbidden_secret_is_audited(guarded: Server, certificates: Certificates) -> None:
    with capture_logs() as logs, Client(guarded.port, certificates.client("shop")) as client:
        stream = client.delta(probe=EDS, node="edge-9")
        stream.ask(SDS, "bank")
        stream.quiet()
    audits = [entry for entry in logs if "bank" in _words(entry)]
    assert audits, f"no word of it in {logs}"
    assert any({"shop", "edge-9"} <= _words(entry) for entry in audits)
    assert all(entry["log_level"] in ("warning", "error") for entry in audits)


def test_c42_asking_for_a_missing_secret_is_no_offence(guarded: Server, certificates: Certificates) -> None:
    with capture_logs() as logs, Client(guarded.port, certificates.client("bank")) as client:
        stream = client.delta(probe=EDS)
        stream.ask(SDS, "missing")
        stream.quiet()
    assert not [entry for entry in logs if "missing" in _words(entry) and entry["log_level"] != "debug"]


def _words(entry: Any) -> set[str]:
    """The values of a log entry's fields, and those in its lists."""
    words: set[str] = set()
    for value in entry.values():
        words.update(map(str, value) if isinstance(value, list | tuple | set | frozenset) else (str(value),))
    return words
