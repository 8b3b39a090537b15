"""A GDS that is asked for one host at a time: however it differs, its answer is a pod, unknown, or a clear error."""

from __future__ import annotations

import base64
import gzip
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from answering_gds import AnsweringGds, Said, answering
from cryptography.x509.oid import ExtendedKeyUsageOID

from demo.certificates import Authority, _write
from xds import settings
from xds.errors import CertificateError, GdsError, RecordError, SettingsError
from xds.gds.client import Credentials
from xds.lookup.asking import Refused, Unreachable
from xds.lookup.client import LookupClient, Wait
from xds.lookup.client_settings import ClientSettings

HOST = "acme.example.com"
SECRET = "s3cr3t-that-nobody-may-see"


@pytest.fixture
def gds() -> Iterator[AnsweringGds]:
    with answering() as made:
        yield made


async def asked(gds: AnsweringGds, host: str = HOST, **call: object) -> str | None:
    wait = Wait(answer=float(str(call.pop("timeout", 2.0))))
    async with LookupClient(gds.url, ClientSettings.model_validate(call), wait=wait) as client:
        return await client.ask(host)


async def refused(gds: AnsweringGds, said: Said, **call: object) -> str:
    gds.otherwise = said
    with pytest.raises(GdsError) as raised:
        await asked(gds, **call)
    assert f"asked for {HOST}" in str(raised.value)
    return str(raised.value)


async def test_the_oldest_gds_answers_with_the_pods_name_alone(gds: AnsweringGds) -> None:
    gds.answers[f"/rest/backend/{HOST}"] = Said(b"pod3\r\n", kind="text/plain; charset=utf-8")
    assert await asked(gds) == "pod3"


async def test_a_host_that_gds_does_not_know_is_no_error(gds: AnsweringGds) -> None:
    assert await asked(gds) is None


async def test_the_path_and_the_place_in_json_are_settings(gds: AnsweringGds) -> None:
    gds.answers[f"/rest/v2/where?name={HOST}"] = Said(b'{"backend": {"pod": "pod3"}}', kind="application/json")
    assert await asked(gds, path="/v2/where?name={host}", field="backend.pod") == "pod3"


@pytest.mark.parametrize(
    ("said", "call"),
    [
        (Said(b"", 410), {"unknown_statuses": (404, 410)}),
        (Said(b"", 204), {"unknown_statuses": (204,)}),
        (Said(b"\n"), {"unknown": ("",)}),
        (Said(b"not here"), {"unknown": ("not here",)}),
        (Said(b'{"pod": null}', kind="application/json"), {"unknown": ("",), "field": "pod"}),
        (Said(b'{"pod": "-"}', kind="application/json"), {"unknown": ("-",), "field": "pod"}),
    ],
)
async def test_how_gds_says_unknown_is_a_setting(gds: AnsweringGds, said: Said, call: dict[str, object]) -> None:
    gds.otherwise = said
    assert await asked(gds, **call) is None
    call = {name: value for name, value in call.items() if name == "field"}
    assert "lookup.client.unknown" in await refused(gds, said, **call)


@pytest.mark.parametrize(
    ("said", "call", "setting"),
    [
        (Said(b"<html>Please log in</html>", kind="text/html"), {}, "gds.url"),
        (Said(b"pod3", kind="text/html"), {}, "lookup.client.content_type"),
        (Said(b"pod3", kind=""), {}, "lookup.client.content_type"),
        (Said(b"<html>Please log in</html>"), {}, "lookup.client.unknown"),
        (Said(b"pod 3"), {}, "lookup.client.field"),
        (Said(b"pod3\x00"), {}, "lookup.client.field"),
        (Said("pöd3".encode()), {}, "no pod's name"),
        (Said(b"../../pod3"), {}, "lookup.client.field"),
        (Said(b"p" * 64), {}, "lookup.client.field"),
        (Said(b'{"pod": "pod3"}', kind="application/json"), {}, "lookup.client.field"),
        (Said(b"pod3", kind="application/json"), {"field": "pod"}, "lookup.client.field"),
        (Said(b'{"pods": ["pod3"]}', kind="application/json"), {"field": "pods"}, "lookup.client.field"),
        (Said(b'{"pod": 3}', kind="application/json"), {"field": "pod"}, "lookup.client.field"),
        (Said(b'{"host": {}}', kind="application/json"), {"field": "host.pod"}, "lookup.client.field"),
        (Said(b"[" * 60_000, kind="application/json"), {"field": "host.pod"}, "lookup.client.field"),
        (Said(b"", 302, headers={"location": "https://sso.test/login"}), {}, "gds.url"),
        (Said(b"who are you", 401), {}, "gds.token_file"),
        (Said(b"pod3", 403), {}, "gds.certificate"),
        (Said(b"pod3", 500), {}, "lookup.client.unknown_statuses"),
        (Said(b"pod3", 206), {}, "lookup.client.unknown_statuses"),
        (Said(gzip.compress(b"pod3"), headers={"content-encoding": "gzip"}), {}, "content-encoding"),
        (Said(b"pod3", after=1.0), {"timeout": 0.3}, "lookup.timeout"),
    ],
)
async def test_what_is_not_surely_an_answer_is_an_error_that_names_the_setting(
    gds: AnsweringGds, said: Said, call: dict[str, object], setting: str
) -> None:
    assert setting in await refused(gds, said, **call)


@pytest.mark.parametrize("status", [400, 405, 410, 422, 451])
async def test_a_status_about_this_host_alone_says_nothing_of_gds(gds: AnsweringGds, status: int) -> None:
    gds.otherwise = Said(b"no", status)
    with pytest.raises(Refused, match=str(status)):
        await asked(gds)


@pytest.mark.parametrize("status", [301, 401, 403, 407, 408, 425, 429, 500, 503])
async def test_any_other_status_says_that_gds_fails(gds: AnsweringGds, status: int) -> None:
    gds.otherwise = Said(b"no", status)
    with pytest.raises(GdsError, match=str(status)) as raised:
        await asked(gds)
    assert type(raised.value) is GdsError


async def test_of_an_answer_without_end_only_the_beginning_is_read(gds: AnsweringGds) -> None:
    await refused(gds, Said(bytes(100_000_000)))
    assert gds.sent < 20_000_000


async def test_a_redirect_is_not_followed(gds: AnsweringGds) -> None:
    await refused(gds, Said(b"", 301, headers={"location": f"{gds.url}/elsewhere"}))
    assert gds.paths() == [f"/rest/backend/{HOST}"]


@pytest.mark.parametrize("host", ["", "a/b", "ACME.test", "a.test:80", "..", "a?x", "a.test#", "x" * 300])
async def test_what_is_no_domain_is_never_asked_for(gds: AnsweringGds, host: str) -> None:
    with pytest.raises(RecordError):
        await asked(gds, host)
    assert not gds.asked


async def test_a_gds_that_is_away_is_an_error_without_the_urls_password(gds: AnsweringGds) -> None:
    async with LookupClient("http://user:password@127.0.0.1:9/rest") as client:
        with pytest.raises(Unreachable, match=r"can't be read") as raised:
            await client.ask(HOST)
    assert "password" not in str(raised.value)


@pytest.mark.parametrize("token", [False, True])
async def test_the_urls_user_and_password_are_said_to_gds(gds: AnsweringGds, tmp_path: Path, token: bool) -> None:
    gds.otherwise = Said(b"pod1")
    (tmp_path / "token").write_text(SECRET)
    url = gds.url.replace("//", "//us%40here:p%C3%A4ss@")
    async with LookupClient(url, None, Credentials(token_file=tmp_path / "token" if token else None)) as client:
        await client.ask(HOST)
    said = base64.b64encode("us@here:päss".encode()).decode()
    assert [headers["authorization"] for _, headers in gds.asked] == [f"Basic {said}"]


async def test_gds_is_asked_again_over_the_same_connection(gds: AnsweringGds) -> None:
    async with LookupClient(gds.url) as client:
        for _ in range(5):
            await client.ask(HOST)
    assert gds.connections == 1


async def test_a_header_with_a_secret_is_read_anew_for_each_call(gds: AnsweringGds, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{SECRET}\n")
    gds.otherwise = Said(b"pod1")
    async with LookupClient(gds.url, ClientSettings(header="X-Api-Key", header_file=file)) as client:
        await client.ask(HOST)
        file.write_text("renewed")
        await client.ask(HOST)
    assert [headers["x-api-key"] for _, headers in gds.asked] == [SECRET, "renewed"]


@pytest.mark.parametrize("content", [f"{SECRET}\nb: {SECRET}", f"{SECRET}\x00", f"{SECRET}é", ""])
async def test_a_header_that_can_not_be_sent_is_an_error_without_the_secret(
    gds: AnsweringGds, tmp_path: Path, content: str
) -> None:
    file = tmp_path / "key"
    file.write_text(content)
    with pytest.raises(SettingsError, match=r"lookup\.client\.header_file") as raised:
        await asked(gds, header="x-api-key", header_file=file)
    assert SECRET not in str(raised.value)
    token = tmp_path / "token"
    token.write_text(content or "a\x00")
    with pytest.raises(CertificateError, match=r"gds\.token_file") as other:
        LookupClient(gds.url, None, Credentials(token_file=token))
    assert SECRET not in str(other.value)


def test_secrets_are_not_in_the_settings(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(SECRET)
    (tmp_path / "pointsman.toml").write_text(
        '[xds]\nplaintext = true\n[lookup.client]\nheader = "x-api-key"\nheader_file = "key"\n'
    )
    loaded = settings.load(tmp_path / "pointsman.toml")
    assert loaded.lookup.client.header_file == tmp_path / "key"
    assert SECRET not in f"{loaded!r} {loaded.model_dump_json()}"


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ('path = "/backend"', "lookup.client.path"),
        ('path = "backend/{host}"', "lookup.client.path"),
        ('path = "/{host}/{host}"', "lookup.client.path"),
        ('path = "/{host}\\r\\nx: y"', "lookup.client.path"),
        ('header = "x key"\nheader_file = "k"', "lookup.client.header"),
        ('header = "Host"\nheader_file = "k"', "lookup.client.header"),
        ('header = "x-api-key"', "header_file go together"),
        ('field = "backend..pod"', "lookup.client.field"),
        ("unknown_statuses = [200]", "lookup.client.unknown_statuses"),
    ],
)
def test_a_setting_that_can_not_be_right_is_named(tmp_path: Path, toml: str, words: str) -> None:
    (tmp_path / "pointsman.toml").write_text(f"[xds]\nplaintext = true\n[lookup.client]\n{toml}\n")
    with pytest.raises(SettingsError) as raised:
        settings.load(tmp_path / "pointsman.toml")
    assert words in str(raised.value)


def test_there_is_one_authorization(tmp_path: Path) -> None:
    text = 'token_file = "t"\n[lookup.client]\nheader = "Authorization"\nheader_file = "k"\n'
    (tmp_path / "pointsman.toml").write_text(f"[xds]\nplaintext = true\n[gds]\n{text}")
    with pytest.raises(SettingsError, match="leave one out"):
        settings.load(tmp_path / "pointsman.toml")


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    from cryptography.hazmat.primitives.serialization import Encoding

    authority = Authority("GDS's CA")
    _write(tmp_path / "ca.crt", authority.certificate.public_bytes(Encoding.PEM), 0o644)
    authority.issue(tmp_path, "gds", ("127.0.0.1",), ExtendedKeyUsageOID.SERVER_AUTH)
    authority.issue(tmp_path, "us", ("pointsman",), ExtendedKeyUsageOID.CLIENT_AUTH)
    Authority("another CA").issue(tmp_path, "other", ("pointsman",), ExtendedKeyUsageOID.CLIENT_AUTH)
    return tmp_path


@pytest.fixture
def locked(certificates: Path) -> Iterator[AnsweringGds]:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates / "gds.crt", certificates / "gds.key")
    tls.load_verify_locations(certificates / "ca.crt")
    tls.verify_mode = ssl.CERT_REQUIRED
    with answering(tls) as made:
        made.otherwise = Said(b"pod1")
        yield made


async def test_gds_knows_us_by_our_certificate(locked: AnsweringGds, certificates: Path) -> None:
    ours = Credentials(certificates / "ca.crt", certificates / "us.crt", certificates / "us.key")
    async with LookupClient(locked.url, None, ours) as client:
        assert await client.ask(HOST) == "pod1"


@pytest.mark.parametrize(("ca", "shown"), [("ca", ""), ("ca", "other"), ("other", "us")])
async def test_without_the_right_certificates_nobody_is_asked(
    locked: AnsweringGds, certificates: Path, ca: str, shown: str
) -> None:
    ours = Credentials(certificates / f"{ca}.crt")
    if shown:
        ours = Credentials(ours.ca, certificates / f"{shown}.crt", certificates / f"{shown}.key")
    async with LookupClient(locked.url, None, ours) as client:
        with pytest.raises(GdsError, match="can't be read"):
            await client.ask(HOST)
    assert not locked.asked


@pytest.mark.parametrize("broken", [ssl.SSLError("tlsv1 alert unknown ca"), OSError("gone"), ValueError("odd")])
async def test_whatever_the_connection_raises_is_an_error_of_gds(
    gds: AnsweringGds, monkeypatch: pytest.MonkeyPatch, broken: Exception
) -> None:
    async def raising(*_: object) -> None:
        raise broken

    async with LookupClient(gds.url) as client:
        monkeypatch.setattr(client, "_get", raising)
        with pytest.raises(GdsError, match="can't be read"):
            await client.ask(HOST)


def test_a_certificate_that_can_not_be_used_is_named_with_its_setting(certificates: Path) -> None:
    wrong = Credentials(certificates / "ca.crt", certificates / "us.crt", certificates / "gds.key")
    with pytest.raises(CertificateError, match=r"settings gds\.certificate, gds\.key"):
        LookupClient("https://127.0.0.1:9/rest", None, wrong)
