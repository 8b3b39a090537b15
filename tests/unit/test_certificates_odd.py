"""Certificates that hardly anybody has: each is set aside with its reason, and the others are served."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from structlog.testing import capture_logs

import xds.certificates.reading
from demo.issuer import Issuer, other_key, replace, write_flat
from xds.certificates.folder import Folder
from xds.certificates.layouts import place
from xds.certificates.reading import read_leaf, read_whole

CA = Issuer()

pytestmark = pytest.mark.filterwarnings("ignore")  # cryptography warns of what it will not take in times to come


def patched(find: bytes, put: bytes) -> Callable[[Path], None]:
    """A certificate with other bytes at one place."""

    def write(folder: Path) -> None:
        made = CA.issue("a.test")
        der = made.certificate.public_bytes(Encoding.DER)
        assert find in der
        write_flat(folder, "a", made)
        replace(folder / "a.crt", _pem(der.replace(find, put, 1)))

    return write


def _pem(der: bytes) -> bytes:
    made = subprocess.run(["openssl", "base64", "-e"], input=der, capture_output=True, check=True).stdout
    return b"-----BEGIN CERTIFICATE-----\n" + made + b"-----END CERTIFICATE-----\n"


def openssl_curve(name: str, *options: str) -> Callable[[Path], None]:
    """A self-signed certificate of a key that openssl makes."""

    def write(folder: Path) -> None:
        _run("openssl", "ecparam", "-name", name, "-genkey", "-noout", *options, "-out", f"{folder}/a.key")
        _sign(folder)

    return write


def rsa_pss(folder: Path) -> None:
    key = f"{folder}/a.key"
    _run("openssl", "genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key)
    _sign(folder)


def _sign(folder: Path) -> None:
    name = ("-subj", "/CN=a.test", "-addext", "subjectAltName=DNS:a.test", "-days", "20")
    _run("openssl", "req", "-x509", "-new", "-key", f"{folder}/a.key", *name, "-out", f"{folder}/a.crt")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


ODD: dict[str, tuple[Callable[[Path], None], str]] = {
    "a version that isn't there": (patched(bytes.fromhex("a003020102"), bytes.fromhex("a003020105")), "pem"),
    "an unknown kind of key": (patched(bytes.fromhex("2a8648ce3d0201"), bytes.fromhex("2a8648ce3d0209")), "type"),
    "an unknown curve": (patched(bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d03017e")), "type"),
    "an X.400 address as a name": (patched(b"\x82\x06a.test", b"\xa3\x06a.test"), "pem"),
    "SM2": (openssl_curve("SM2"), "type"),
    "prime239v1": (openssl_curve("prime239v1"), "type"),
    "P-256 with explicit parameters": (openssl_curve("prime256v1", "-param_enc", "explicit"), "type"),
    "RSA for PSS alone": (rsa_pss, "type"),
}


@pytest.mark.parametrize("kind", ODD)
async def test_an_odd_certificate_is_set_aside_and_the_others_are_read(tmp_path: Path, kind: str) -> None:
    write, reason = ODD[kind]
    write(tmp_path)
    write_flat(tmp_path, "good", CA.issue("good.test"))
    folder = Folder(tmp_path, _nobody, lambda name: False)
    task = asyncio.create_task(folder.run())
    try:
        async with asyncio.timeout(20):
            while not (folder.index.aside and (good := folder.index.get("good")) and good.checked):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert {name: aside.kind for name, aside in folder.index.aside.items()} == {"a": reason}


async def _nobody(names: object) -> None:
    pass


def test_what_nobody_foresaw_sets_one_certificate_aside_and_is_logged_without_what_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("what is in the file")

    write_flat(tmp_path, "a", CA.issue("a.test"))
    found = place(tmp_path, "a")
    assert found is not None
    monkeypatch.setattr(xds.certificates.reading, "check", broken)
    monkeypatch.setattr(xds.certificates.reading, "facts_of", broken)
    with capture_logs() as logs:
        reads = read_whole(tmp_path, "a", time.time()), read_leaf(tmp_path, found, time.time())
    for read in reads:
        assert read.error is not None
        assert "ZeroDivisionError" in str(read.error)
        assert "what is in the file" not in str(read.error)
    assert [(each["event"], each["error"]) for each in logs] == [("certificate.unforeseen", "ZeroDivisionError")] * 2
    assert "what is in the file" not in str(logs)


def usage(*allowed: str) -> x509.KeyUsage:
    kinds = "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign"
    every = dict.fromkeys(f"{kinds} crl_sign encipher_only decipher_only".split(), False)
    return x509.KeyUsage(**{**every, **dict.fromkeys(allowed, True)})


SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


@pytest.mark.parametrize(
    ("key", "extension", "taken"),
    [
        ("EC P-256", usage("digital_signature"), True),
        ("EC P-256", usage("key_agreement"), False),
        ("RSA 2048", usage("digital_signature", "key_encipherment"), True),
        ("RSA 2048", usage("key_encipherment"), False),
        ("EC P-256", x509.ExtendedKeyUsage([SERVER, CLIENT]), True),
        ("EC P-256", x509.ExtendedKeyUsage([CLIENT]), False),
    ],
)
def test_a_certificate_that_is_not_for_servers_is_set_aside(
    tmp_path: Path, key: str, extension: x509.ExtensionType, taken: bool
) -> None:
    write_flat(tmp_path, "a", CA.issue("a.test", key=other_key(key), more=[extension]))
    error = read_whole(tmp_path, "a", time.time()).error
    assert (error is None) == taken
    assert error is None or error.kind == "use"


def test_an_rsa_key_of_which_one_number_does_not_fit_is_refused(tmp_path: Path) -> None:
    made = CA.issue("a.test", key=other_key("RSA 2048"))
    assert isinstance(made.key, rsa.RSAPrivateKey)
    numbers = made.key.private_numbers()
    odd = rsa.RSAPrivateNumbers(
        numbers.p, numbers.q, numbers.d, numbers.dmp1 ^ 4, numbers.dmq1, numbers.iqmp, numbers.public_numbers
    ).private_key(unsafe_skip_rsa_key_validation=True)
    write_flat(tmp_path, "a", made)
    replace(tmp_path / "a.key", odd.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    error = read_whole(tmp_path, "a", time.time()).error
    assert error is not None
    assert error.kind == "key"


async def test_a_name_that_cannot_be_printed_is_nobodys(tmp_path: Path) -> None:
    made = CA.issue("a.test")
    write_flat(tmp_path, "good", made)
    for ending, content in ((b".crt", made.chain), (b".key", made.private)):
        for name in (b"\xff\xfe", b"a\nb"):
            (tmp_path / os.fsdecode(name + ending)).write_bytes(content)
    folder = Folder(tmp_path, _nobody, lambda name: False)
    task = asyncio.create_task(folder.run())
    try:
        await folder.complete(20)
        assert (list(folder.index), dict(folder.index.aside), task.done()) == (["good"], {}, False)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
