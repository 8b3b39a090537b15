"""What is checked of a certificate before any Envoy is given it, and how each reason reads."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cryptography.x509 import ocsp

from demo.issuer import Issuer, Made, other_key, write_flat
from xds.certificates.layouts import place
from xds.certificates.reading import Read, read_leaf, read_whole

CA = Issuer()


def read(folder: Path, made: Made, staple: bytes | None = None) -> Read:
    write_flat(folder, "a", made, staple)
    return read_whole(folder, "a", time.time())


def reason(found: Read) -> tuple[str, str]:
    assert found.error is not None
    return found.error.kind, str(found.error)


def test_a_good_pair_is_taken_with_what_it_says(tmp_path: Path) -> None:
    made = CA.issue("A.test", "*.a.test", days=30, chained=True)
    found = read(tmp_path, made)
    assert found.error is None
    assert found.checked is not None
    assert found.facts is not None
    assert found.checked.pair.chain == made.chain
    assert found.facts.names == ("a.test", "*.a.test")
    assert found.facts.not_after == made.certificate.not_valid_after_utc.timestamp()
    assert (found.facts.key, found.readable) == ("EC P-256", False)


@pytest.mark.parametrize("kind", ["RSA 2048", "EC P-384", "EC P-521"])
def test_other_keys_that_clients_take_are_taken(tmp_path: Path, kind: str) -> None:
    found = read(tmp_path, CA.issue("a.test", key=other_key(kind)))
    assert found.facts is not None
    assert found.facts.key == kind


@pytest.mark.parametrize(
    ("kind", "words"), [("RSA 1024", "1024 bits"), ("EC secp256k1", "secp256k1"), ("Ed25519", "Ed25519")]
)
def test_keys_that_clients_do_not_take_are_refused(tmp_path: Path, kind: str, words: str) -> None:
    about, text = reason(read(tmp_path, CA.issue("a.test", key=other_key(kind))))
    assert about == "type"
    assert words in text


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    made = CA.issue("a.test")
    assert reason(read(tmp_path, Made(made.certificate, CA.issue("a.test").key)))[0] == "key"


def test_a_chain_out_of_order_is_refused(tmp_path: Path) -> None:
    root = Issuer("root")
    middle = Issuer("middle", above=root)
    made = middle.issue("a.test")
    good = Made(made.certificate, made.key, (middle.certificate, root.certificate))
    assert read(tmp_path, good).error is None
    about, text = reason(read(tmp_path, Made(made.certificate, made.key, (root.certificate, middle.certificate))))
    assert about == "order"
    assert "number 2 of the chain didn't sign number 1" in text
    # A CA's certificate first: then the key isn't that certificate's.
    assert reason(read(tmp_path, Made(middle.certificate, made.key, (made.certificate,))))[0] in ("key", "names")


@pytest.mark.parametrize(("starts", "days", "words"), [(-9, -1, "expired on"), (1, 9, "not valid before")])
def test_dates_are_checked(tmp_path: Path, starts: float, days: float, words: str) -> None:
    about, text = reason(read(tmp_path, CA.issue("a.test", starts=starts, days=days)))
    assert about == "dates"
    assert words in text


def test_an_expired_issuer_in_the_chain_is_refused(tmp_path: Path) -> None:
    old = Issuer(days=-1)
    assert reason(read(tmp_path, old.issue("a.test", chained=True)))[0] == "dates"


def test_a_certificate_for_no_name_is_refused(tmp_path: Path) -> None:
    assert reason(read(tmp_path, CA.issue()))[0] == "names"


@pytest.mark.parametrize("file", ["a.crt", "a.key"])
def test_a_file_that_is_not_pem_or_not_there_is_named(tmp_path: Path, file: str) -> None:
    write_flat(tmp_path, "a", CA.issue("a.test"))
    (tmp_path / file).write_bytes(b"nonsense")
    about, text = reason(read_whole(tmp_path, "a", time.time()))
    assert about == "pem"
    assert file in text
    (tmp_path / file).unlink()
    found = read_whole(tmp_path, "a", time.time())
    assert found.place is None if file == "a.crt" else file in reason(found)[1]


def test_a_key_that_every_user_may_read_is_noticed_and_used_and_one_for_a_group_is_fine(tmp_path: Path) -> None:
    write_flat(tmp_path, "a", CA.issue("a.test"))
    (tmp_path / "a.key").chmod(0o640)
    assert not read_whole(tmp_path, "a", time.time()).readable
    (tmp_path / "a.key").chmod(0o644)
    found = read_whole(tmp_path, "a", time.time())
    assert (found.error, found.readable) == (None, True)


def test_the_quick_look_finds_the_same_facts(tmp_path: Path) -> None:
    whole = read(tmp_path, CA.issue("a.test"))
    found = place(tmp_path, "a")
    assert found is not None
    quick = read_leaf(tmp_path, found, time.time())
    assert (quick.facts, quick.stamp, quick.checked) == (whole.facts, whole.stamp, None)


def test_no_reason_holds_what_is_in_a_file(tmp_path: Path) -> None:
    made = CA.issue("a.test")
    other = CA.issue("b.test")
    (tmp_path / "a.crt").write_bytes(other.private)
    (tmp_path / "a.key").write_bytes(made.private)
    lines = (made.private + other.private).decode().split()
    found = repr(read_whole(tmp_path, "a", time.time()))
    assert not [line for line in lines if len(line) > 20 and line in found]


def test_a_staple_is_given_along(tmp_path: Path) -> None:
    made = CA.issue("a.test", chained=True)
    staple = CA.staple(made.certificate)
    found = read(tmp_path, made, staple)
    assert found.checked is not None
    assert (found.checked.pair.staple, found.checked.staple) == (staple, "")


def _staple(kind: str, made: Made) -> bytes:
    match kind:
        case "of another certificate":
            return CA.staple(CA.issue("a.test").certificate)
        case "expired":
            return CA.staple(made.certificate, starts=-9, days=-1)
        case "of the future":
            return CA.staple(made.certificate, starts=1)
        case "revoked":
            return CA.staple(made.certificate, status=ocsp.OCSPCertStatus.REVOKED)
        case "signed by a stranger":
            return Issuer("stranger").staple(made.certificate, issuer=CA)
        case "of another issuer":
            return Issuer("stranger").staple(made.certificate)
        case _:
            return b"nonsense"


@pytest.mark.parametrize(
    "kind",
    ["of another certificate", "expired", "of the future", "revoked", "signed by a stranger", "of another issuer", "-"],
)
def test_a_staple_that_is_no_good_is_left_out_and_the_certificate_is_used(tmp_path: Path, kind: str) -> None:
    made = CA.issue("a.test", chained=True)
    found = read(tmp_path, made, _staple(kind, made))
    assert found.error is None
    assert found.checked is not None
    assert found.checked.pair.staple is None
    assert "a.ocsp" in found.checked.staple


def test_a_certificate_that_demands_a_staple_is_refused_without(tmp_path: Path) -> None:
    made = CA.issue("a.test", chained=True, must_staple=True)
    assert reason(read(tmp_path, made))[0] == "staple"
    assert read(tmp_path, made, CA.staple(made.certificate)).error is None
