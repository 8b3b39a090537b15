"""A host is taken out of what somebody pastes."""

from __future__ import annotations

import pytest

from xds.cli.pasted import host_in


@pytest.mark.parametrize(
    ("pasted", "host"),
    [
        ("acme.example.com", "acme.example.com"),
        (" acme.example.com\n", "acme.example.com"),
        ("https://Acme.example.com:443/path?q=1#x", "Acme.example.com:443"),
        ("http://ann:secret@acme.example.com/", "acme.example.com"),
        ("acme.example.com/cart", "acme.example.com"),
        ("acme.example.com:8443/", "acme.example.com:8443"),
        ("//acme.example.com", "acme.example.com"),
        ("https://müller.de/ä", "müller.de"),
        ("*.acme.example.com", "*.acme.example.com"),
        ("https://", "https://"),
        ("", ""),
    ],
)
def test_what_is_around_a_host_is_left_out(pasted: str, host: str) -> None:
    assert host_in(pasted) == host
