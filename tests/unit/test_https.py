"""The API over HTTPS: a client certificate is as good as the token, and a renewed certificate is shown."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from fastapi import FastAPI, Request

from demo.certificates import Authority
from xds.audit import Audit
from xds.http import serve
from xds.http.access import Access, Guard, certificate_of
from xds.http.serve import Https, serving

LOOPBACK = "127.0.0.1"
SERVER_AUTH, CLIENT_AUTH = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


def app() -> FastAPI:
    made = FastAPI()

    @made.post("/order")
    async def order(request: Request) -> dict[str, str]:
        return {"who": certificate_of(request.scope)}

    made.add_middleware(Guard, access=Access(public=False), audit=Audit())
    return made


async def post(port: int, trust: ssl.SSLContext) -> httpx.Response:
    async with httpx.AsyncClient(verify=trust, trust_env=False) as client:
        return await client.post(f"https://{LOOPBACK}:{port}/order")


def trusting(ca: Path, certificate: Path | None = None) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(ca))
    if certificate:
        made.load_cert_chain(certificate, certificate.with_suffix(".key"))
    return made


def write_ca(authority: Authority, file: Path) -> None:
    file.write_bytes(authority.certificate.public_bytes(Encoding.PEM))


def issued(folder: Path) -> Https:
    ours, others = Authority("operators"), Authority("strangers")
    write_ca(ours, folder / "ca.crt")
    ours.issue(folder, "http", [LOOPBACK], SERVER_AUTH)
    ours.issue(folder, "ann", ["ann.ops.example"], CLIENT_AUTH)
    others.issue(folder, "eve", ["ann.ops.example"], CLIENT_AUTH)
    return Https(folder / "http.crt", folder / "http.key", folder / "ca.crt")


async def test_who_shows_a_certificate_of_the_client_ca_may_order_and_nobody_else(tmp_path: Path) -> None:
    https = issued(tmp_path)
    async with serving(app(), LOOPBACK, 0, https) as port:
        assert (await post(port, trusting(tmp_path / "ca.crt"))).status_code == 401
        answer = await post(port, trusting(tmp_path / "ca.crt", tmp_path / "ann.crt"))
        assert (answer.status_code, answer.json()["who"]) == (200, "ann.ops.example")
        with pytest.raises(httpx.HTTPError):
            await post(port, trusting(tmp_path / "ca.crt", tmp_path / "eve.crt"))


async def test_a_renewed_certificate_is_shown_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "_LOOK", 0.05)
    https = issued(tmp_path)
    renewed = Authority("operators renewed")
    async with serving(app(), LOOPBACK, 0, https) as port:
        write_ca(renewed, tmp_path / "new-ca.crt")
        with pytest.raises(httpx.HTTPError):
            await post(port, trusting(tmp_path / "new-ca.crt"))
        renewed.issue(tmp_path, "http", [LOOPBACK], SERVER_AUTH)
        for _ in range(200):
            await asyncio.sleep(0.05)
            try:
                answer = await post(port, trusting(tmp_path / "new-ca.crt"))
            except httpx.HTTPError:
                continue
            assert answer.status_code == 401
            return
    pytest.fail("the renewed certificate isn't shown")


@pytest.mark.parametrize("name", [LOOPBACK, "localhost"])  # a client says a name, and no address
async def test_who_has_a_certificate_of_a_ca_that_is_no_longer_trusted_may_not_order_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(serve, "_LOOK", 0.05)
    https = issued(tmp_path)
    ours, successor = (tmp_path / "ca.crt").read_bytes(), Authority("successors")
    (tmp_path / "ours.crt").write_bytes(ours)
    ann, bob = tmp_path / "ann.crt", tmp_path / "bob.crt"
    successor.issue(tmp_path, "bob", ["bob.ops.example"], CLIENT_AUTH)
    trust = {file: trusting(tmp_path / "ours.crt", file) for file in (ann, bob)}
    for context in trust.values():
        context.check_hostname = False

    async def order(file: Path) -> int:
        """The status; 0 where the handshake fails."""
        async with httpx.AsyncClient(verify=trust[file], trust_env=False) as client:
            try:
                return (await client.post(f"https://{name}:{port}/order")).status_code
            except httpx.HTTPError:
                return 0

    async with serving(app(), LOOPBACK, 0, https) as port:
        assert (await order(ann), await order(bob)) == (200, 0)
        write_ca(successor, tmp_path / "ca.crt")
        for _ in range(200):
            await asyncio.sleep(0.05)
            if await order(bob) == 200:
                break
        assert (await order(ann), await order(bob)) == (0, 200)
