"""What a certificate may claim, and which secrets it may have."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from demo.certificates import Authority
from xds.errors import CertificateError, SettingsError
from xds.server.access import Access, Grant, Refusal, rule
from xds.server.identity import Identity, Kind, Name, identify
from xds.server.patterns import glob, template
from xds.settings import load


def bearer(*names: str, kind: Kind = "dns") -> Identity:
    return Identity(tuple(Name(kind, name) for name in names), "", b"", 1, "ab")


def may(access: Access, identity: Identity | None, node: str, cluster: str = "edge") -> bool:
    return isinstance(access.decide(identity, node, cluster), Grant)


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("edge-1", "edge-1", ()),
        ("edge-1", "edge-12", None),
        ("edge-1", "an-edge-1", None),
        ("edge-*", "edge-", ("",)),
        ("edge-*.example.com", "edge-7.example.com", ("7",)),
        ("edge-*.example.com", "edge-7.example.com.evil.test", None),
        ("*-*", "a-b-c", ("a", "b-c")),
        ("*a*a*", "banana", ("b", "n", "na")),
        ("a*a", "a", None),
        ("ab*ba", "aba", None),
        ("e.ge", "edge", None),
        ("[ab]|(c)*", "a", None),
        ("*", "", ("",)),
        ("a*", "a\nb", ("\nb",)),
    ],
)
def test_a_pattern_matches_all_of_a_text_and_only_its_stars_stand_for_more(
    pattern: str, text: str, found: tuple[str, ...] | None
) -> None:
    assert glob(pattern).match(text) == found


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "a.b.example.com", False),
        ("spiffe://td/*/sa", "spiffe://td/ns/sa", True),
        ("spiffe://td/*/sa", "spiffe://td/ns/evil/sa", False),
        ("spiffe://*/sa", "spiffe://td.evil/sa", False),
        ("*.a.*", "x.a.y", True),
        ("*", "a.b/c", True),
    ],
)
def test_a_star_of_a_san_pattern_stays_within_a_label(pattern: str, text: str, matches: bool) -> None:
    assert (glob(pattern, "./").match(text) is not None) is matches


def test_a_pattern_made_to_be_slow_is_not() -> None:
    begun = time.thread_time()
    assert glob("*a" * 40 + "b").match("a" * 100_000) is None
    assert time.thread_time() - begun < 5


@pytest.mark.parametrize("pattern", ["", "**", "a**b", "{", "}", "{0}", "{name}", "{2}", "{san", "{{san}}"])
def test_a_pattern_that_makes_no_sense_is_refused(pattern: str) -> None:
    with pytest.raises(SettingsError):
        template(pattern, 1)


def test_without_rules_any_certificate_may_claim_anything_and_have_every_secret() -> None:
    decision = Access().decide(bearer("whoever.test"), "any-node", "any")
    assert isinstance(decision, Grant)
    assert decision.may_have_secret("edge")


def test_no_certificate_is_let_in_on_plaintext_only() -> None:
    assert may(Access(plaintext=True), None, "edge-1")
    assert may(Access.open(), None, "edge-1")
    assert not may(Access(), None, "edge-1")
    assert not may(Access([rule("*")]), None, "edge-1")


def test_a_rule_binds_an_identity_to_its_node_and_cluster() -> None:
    access = Access([rule("edge-*.example.com", node="edge-{1}", cluster="edge")])
    assert may(access, bearer("edge-7.example.com"), "edge-7")
    assert not may(access, bearer("edge-7.example.com"), "edge-8")
    assert not may(access, bearer("edge-7.example.com"), "edge-77")
    assert not may(access, bearer("edge-7.example.com"), "edge-7", "core")
    assert not may(access, bearer("core-7.example.com"), "edge-7")


def test_any_san_will_do_but_its_own_parts_are_filled_in() -> None:
    access = Access([rule("edge-*.example.com", node="{1}")])
    both = bearer("edge-a.example.com", "edge-b.example.com", "other.test")
    assert may(access, both, "a")
    assert may(access, both, "b")
    assert not may(access, both, "c")


def test_the_san_itself_can_be_the_node() -> None:
    access = Access([rule("spiffe://example.com/edge/*", node="{san}", cluster="{1}")])
    identity = bearer("spiffe://example.com/edge/eu", kind="uri")
    assert may(access, identity, "spiffe://example.com/edge/eu", "eu")
    assert not may(access, identity, "spiffe://example.com/edge/us", "eu")


def test_a_star_within_a_san_is_no_wildcard_of_a_claim() -> None:
    access = Access([rule("*.example.com", node="{1}")])
    assert may(access, bearer("*.example.com"), "*")
    assert not may(access, bearer("*.example.com"), "edge-1")


def test_host_names_are_compared_without_case_and_uris_with() -> None:
    assert may(Access([rule("Edge-*.Example.COM")]), bearer("edge-1.example.com"), "n")
    assert not may(Access([rule("spiffe://td/Edge")]), bearer("spiffe://td/edge", kind="uri"), "n")


@pytest.mark.parametrize(
    ("pattern", "kind", "name"),
    [
        ("spiffe://td/*", "dns", "spiffe://td/a"),
        ("spiffe://td/*", "cn", "spiffe://td/a"),
        ("edge*", "email", "edge@evil"),
        ("edge*", "uri", "edge:evil"),
    ],
)
def test_a_name_of_another_kind_does_not_pass_for_the_one_meant(pattern: str, kind: Kind, name: str) -> None:
    assert not may(Access([rule(pattern)]), bearer(name, kind=kind), "n")


def test_rules_only_add() -> None:
    access = Access([rule("*", node="a", secrets=["one"]), rule("*", node="*", secrets=["two-*"])])
    both, second = access.decide(bearer("x"), "a", ""), access.decide(bearer("x"), "b", "")
    assert isinstance(both, Grant)
    assert isinstance(second, Grant)
    assert [both.may_have_secret(name) for name in ("one", "two-x", "three")] == [True, True, False]
    assert [second.may_have_secret(name) for name in ("one", "two-x", "three")] == [False, True, False]


def test_a_secret_can_be_bound_to_the_identity() -> None:
    grant = Access([rule("*.example.com", secrets=["{1}-*", "shared"])]).decide(bearer("eu.example.com"), "n", "")
    assert isinstance(grant, Grant)
    assert [grant.may_have_secret(name) for name in ("eu-tls", "us-tls", "shared")] == [True, False, True]


def test_no_secrets_can_be_granted_at_all() -> None:
    grant = Access([rule("*", secrets=[])]).decide(bearer("x"), "n", "")
    assert isinstance(grant, Grant)
    assert not grant.may_have_secret("edge")


def test_a_refusal_says_what_was_claimed_by_whom_and_which_setting_and_stays_short() -> None:
    refusal = Access([rule("core-*", node="allowed-*")]).decide(bearer("edge-1"), "n\n" + "x" * 100_000, "c")
    assert isinstance(refusal, Refusal)
    assert "'edge-1'" in refusal.reason
    assert r"'n\nxxx" in refusal.reason
    assert "xds.access.rules" in refusal.reason
    assert "allowed-" not in refusal.reason
    assert len(refusal.reason) < 400


class TestIdentity:
    def test_all_sans_count_and_the_cn_does_not(self, tmp_path: Path) -> None:
        names = ("Edge-1.example.com", "spiffe://example.com/edge", "10.0.0.1")
        made = Authority().issue(tmp_path, "e", names, ExtendedKeyUsageOID.CLIENT_AUTH, common_name="boss")
        identity = identify({"x509_pem_cert": [made.public_bytes(Encoding.PEM)]})
        assert identity is not None
        assert identity.names == (
            Name("dns", "edge-1.example.com"),
            Name("uri", "spiffe://example.com/edge"),
            Name("ip", "10.0.0.1"),
        )
        assert identity.common_name == "boss"
        assert identity.serial == made.serial_number
        assert not may(Access([rule("boss")]), identity, "n")

    def test_without_sans_the_cn_counts(self, tmp_path: Path) -> None:
        made = Authority().issue(tmp_path, "e", (), ExtendedKeyUsageOID.CLIENT_AUTH, common_name="Edge-1")
        identity = identify({"x509_pem_cert": [made.public_bytes(Encoding.PEM)]})
        assert identity is not None
        assert identity.names == (Name("cn", "Edge-1"),)

    def test_plaintext_has_none(self) -> None:
        assert identify({"transport_security_type": [b"insecure"]}) is None

    def test_what_cannot_be_read_is_nobody(self) -> None:
        with pytest.raises(CertificateError, match="can't be read"):
            identify({"x509_pem_cert": [b"nonsense"]})


class TestSettings:
    TLS = '[xds]\ncertificate = "c"\nkey = "k"\nclient_ca = "ca"\n'

    def test_rules_and_lists_are_read_and_paths_are_relative_to_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "p.toml"
        path.write_text(
            self.TLS
            + '[xds.access]\ncrl = "lists/ca.crl"\n'
            + '[[xds.access.rules]]\nsan = "edge-*"\nnode = "{1}"\nsecrets = ["a"]\n'
        )
        access = load(path).xds.access
        assert access.crl == (tmp_path / "lists/ca.crl",)
        (made,) = [each.made() for each in access.rules]
        assert may(Access([made]), bearer("edge-7"), "7")
        assert not may(Access([made]), bearer("edge-7"), "8")

    def test_several_lists(self, tmp_path: Path) -> None:
        path = tmp_path / "p.toml"
        path.write_text(self.TLS + '[xds.access]\ncrl = ["a.crl", "/b.crl"]\n')
        assert load(path).xds.access.crl == (tmp_path / "a.crl", Path("/b.crl"))

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ('[[xds.access.rules]]\nsan = "edge-*"\nnode = "{2}"\n', ["xds.access.rules.0", "{2}", "1 *"]),
            ('[[xds.access.rules]]\nsan = ""\n', ["xds.access.rules.0", "empty"]),
            ('[[xds.access.rules]]\nsan = "**"\n', ["xds.access.rules.0", "**"]),
            ('[[xds.access.rules]]\nnode = "*"\n', ["xds.access.rules.0.san", "required"]),
            ('[[xds.access.rules]]\nsan = "*"\nnodes = "*"\n', ["xds.access.rules.0.nodes", "not permitted"]),
            ("[xds.access]\ncrl = 7\n", ["xds.access.crl"]),
        ],
    )
    def test_a_rule_that_cannot_be_used_is_named(self, tmp_path: Path, text: str, words: list[str]) -> None:
        path = tmp_path / "p.toml"
        path.write_text(self.TLS + text)
        with pytest.raises(SettingsError) as raised:
            load(path)
        for word in words:
            assert word in str(raised.value)

    def test_rules_with_plaintext_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "p.toml"
        path.write_text('[xds]\nplaintext = true\n[[xds.access.rules]]\nsan = "*"\n')
        with pytest.raises(SettingsError, match="plaintext there are none"):
            load(path)


def test_what_claims_no_node_is_for_those_whom_a_rule_speaks_of() -> None:
    known, foreign = bearer("edge-1.example.com"), bearer("other.example.org")
    ruled = Access([rule("edge-*.example.com", node="never")])
    assert (ruled.knows(known), ruled.knows(foreign), ruled.knows(None)) == (True, False, False)
    assert Access().knows(foreign)
    assert Access.open().knows(None)
