"""What a domain is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gds_mock.errors import NotAHost
from gds_mock.names import normalise, wildcards_for


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("acme.example.com", "acme.example.com"),
        ("ACME.Example.Com", "acme.example.com"),
        ("acme.example.com:8443", "acme.example.com"),
        ("acme.example.com.", "acme.example.com"),
        ("acme.example.com.:443", "acme.example.com"),
        ("*.ACME.com", "*.acme.com"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("a", "a"),
        ("a" * 63 + ".b", "a" * 63 + ".b"),
    ],
)
def test_case_port_and_trailing_dot_do_not_matter(said: str, meant: str) -> None:
    assert normalise(said) == meant


@pytest.mark.parametrize(
    "said",
    [
        *("", ".", "*", "*.", "a..b", ".a", "a.*.b", "*a.b", "-a.b", "a-.b", "a_b.c", "a b", "a/b"),
        *("bücher.example", "\u212a.com", "[::1]", "a:b", "a:123456", "a:", "a..", "a\n"),
        *("a" * 64 + ".b", ".".join(["a" * 61] * 5)),
    ],
)
def test_what_is_not_a_host_is_refused(said: str) -> None:
    with pytest.raises(NotAHost):
        normalise(said)


@given(st.text(max_size=40))
def test_a_normalised_name_stays_as_it_is(text: str) -> None:
    try:
        name = normalise(text)
    except NotAHost:
        return
    assert normalise(name) == name


def test_the_longest_wildcard_comes_first() -> None:
    assert list(wildcards_for("a.b.c.d")) == ["*.b.c.d", "*.c.d", "*.d"]


def test_no_wildcard_answers_for_a_wildcard_or_a_single_label() -> None:
    assert list(wildcards_for("*.a.b")) == []
    assert list(wildcards_for("a")) == []
