"""A HAProxy map as it comes out of years of use: what can be used is, and every line that can't is named."""

from __future__ import annotations

import pytest

from xds.haproxy_map import BadLine, HostMap, reading


def read(text: str | bytes, *, hosts_alone: bool = False) -> HostMap:
    into = HostMap()
    data = text.encode() if isinstance(text, str) else text
    assert sum(reading(data.splitlines(keepends=True), into, hosts_alone=hosts_alone)) == len(data)
    return into


@pytest.mark.parametrize(
    "line",
    [
        "acme.example.com pod1",
        "acme.example.com\tpod1\r\n",
        "   acme.example.com     pod1   ",
        "ACME.Example.COM pod1",
        "acme.example.com:443 pod1",
        "acme.example.com. pod1",
        "\ufeffacme.example.com pod1",
        "# hosts\n\n   # more\nacme.example.com pod1\n\n",
    ],
)
def test_a_line_is_taken_however_it_is_written(line: str) -> None:
    found = read(line)
    assert (found.pods, found.bad) == ({"acme.example.com": "pod1"}, [])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("acme.example.com", "must be a host and a pod"),
        ("acme.example.com pod1 # moved", "has 4 words"),
        ("acme_example pod1", "not a lower-case host name"),
        ("mün..chen.example.com pod1", "not a lower-case host name"),
        ("acme.example.com pod/1", "not a pod's name"),
        (".example.com pod1", "stands for hosts"),
        ("*.example.com pod1", "stands for hosts"),
        ("^acme pod1", "not a lower-case host name"),
        (b"acme.example.com \xff", "not UTF-8"),
    ],
)
def test_a_bad_line_is_named_and_takes_nothing_with_it(line: str | bytes, reason: str) -> None:
    raw = line.encode() if isinstance(line, str) else line
    found = read(b"a.test pod1\n" + raw + b"\nb.test pod2\n")
    assert found.pods == {"a.test": "pod1", "b.test": "pod2"}
    assert [(bad.line, reason in bad.reason) for bad in found.bad] == [(2, True)]


def test_a_host_on_two_pods_is_on_none_and_all_its_lines_are_named() -> None:
    found = read("a.test pod1\nb.test pod1\nA.test:80 pod2\na.test pod1\n")
    assert found.pods == {"b.test": "pod1"}
    assert found.bad == [
        BadLine(1, "a.test pod1", "a.test is on another pod in line 3"),
        BadLine(3, "A.test:80 pod2", "a.test is on another pod in line 1"),
        BadLine(4, "a.test pod1", "a.test is on another pod in line 1"),
    ]


def test_a_line_that_says_it_again_is_no_error() -> None:
    found = read("a.test pod1\na.test:443 pod1\n")
    assert (found.pods, found.bad, found.repeated, found.lines) == ({"a.test": "pod1"}, [], 1, 2)


def test_a_list_of_hosts_has_no_pods() -> None:
    found = read("A.test\n# b\nb.test:443\nc.test pod1\n", hosts_alone=True)
    assert found.pods == {"a.test": "", "b.test": ""}
    assert [(bad.line, bad.reason) for bad in found.bad] == [(4, "must be one host, but has 2 words")]


def test_what_is_shown_of_a_bad_line_is_short_and_printable() -> None:
    (bad,) = read(b"a " * 100_000 + b"\x00\xff").bad
    assert len(bad.text) <= 80


def test_a_name_with_other_letters_than_ascii_is_taken_as_clients_send_it() -> None:
    found = read("M\u00dcLLER.de:443 pod1\nxn--mller-kva.de pod1\nstra\u00dfe.example pod2\n")
    assert found.pods == {"xn--mller-kva.de": "pod1", "xn--strae-oqa.example": "pod2"}
    assert (found.bad, found.repeated) == ([], 1)
