"""edge-lint of a running edge that looks hosts up: its rows are held, and each is named when it is broken."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from typing import Any

import pytest
from edge_harness import customers
from looking_up import looking_up

from demo.system import WITHOUT_TLS
from xds.lint.checklist import verdicts
from xds.lint.config import from_dump
from xds.lint.lookup import RULES

Dump = dict[str, Any]


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Dump:
    with looking_up(tmp_path_factory.mktemp("lint"), more={"edge": {"tables": 8}}) as looked:
        looked.learned(*customers(2)[1])
        answer: Dump = WITHOUT_TLS.get(f"{looked.edge.system.admin_url}/config_dump").json()
    return answer


def manager(dump: Dump) -> Dump:
    found = [each["active_state"]["listener"] for part in dump["configs"] for each in part.get("dynamic_listeners", ())]
    (https,) = [each for each in found if each["name"] == "https"]
    one: Dump = https["filter_chains"][0]["filters"][0]["typed_config"]
    return one


def asking(dump: Dump) -> Dump:
    return named(dump, "pointsman.lookup")


def limiting(dump: Dump) -> Dump:
    return named(dump, "pointsman.per-address")


def named(dump: Dump, name: str) -> Dump:
    found: Dump = next(each for each in manager(dump)["http_filters"] if each["name"] == name)
    return found


def hosts(dump: Dump) -> list[Dump]:
    tables = [each["route_config"] for part in dump["configs"] for each in part.get("dynamic_route_configs", ())]
    return [host for table in tables for host in table.get("virtual_hosts", ())]


def unknown(dump: Dump) -> Dump:
    return next(host for host in hosts(dump) if host["name"] == "#unknown")


def seen_by_pods(dump: Dump) -> None:
    """No table takes the header away."""
    for part in dump["configs"]:
        for each in part.get("dynamic_route_configs", ()):
            with contextlib.suppress(ValueError):
                each["route_config"].get("request_headers_to_remove", []).remove("x-pointsman-pod")


def known(dump: Dump) -> Dump:
    return next(host for host in hosts(dump) if "*" not in host["domains"])


def without(name: str) -> Callable[[Dump], object]:
    """The filter of https is gone."""

    def change(dump: Dump) -> None:
        one = manager(dump)
        one["http_filters"] = [each for each in one["http_filters"] if each["name"] != name]

    return change


def turned_on(place: Callable[[Dump], Dump], name: str = "pointsman.lookup") -> Callable[[Dump], object]:
    return lambda dump: (
        place(dump)
        .setdefault("typed_per_filter_config", {})
        .update({name: unknown(dump)["typed_per_filter_config"][name]})
    )


def last(dump: Dump) -> None:
    """The limit stands behind all other filters."""
    filters = manager(dump)["http_filters"]
    filters.append(filters.pop(filters.index(limiting(dump))))


BREAKS: list[tuple[str, str, Callable[[Dump], object]]] = [
    ("lookup-unknown-only", "on in the listener", lambda dump: asking(dump).pop("disabled")),
    ("lookup-unknown-only", "no mark needed", lambda dump: asking(dump)["typed_config"].pop("filter_enabled_metadata")),
    ("lookup-unknown-only", "on for a known host", turned_on(known)),
    ("lookup-unknown-only", "on for its route", turned_on(lambda dump: known(dump)["routes"][0])),
    ("lookup-unknown-only", "a known host is limited", turned_on(known, "pointsman.per-address")),
    ("lookup-per-address", "limited in the listener", lambda dump: limiting(dump).pop("disabled")),
    ("lookup-per-address", "not enforced", lambda dump: limiting(dump)["typed_config"].pop("filter_enforced")),
    ("lookup-per-address", "behind", last),
    ("lookup-per-address", "for 20", lambda dump: limiting(dump)["typed_config"].pop("max_dynamic_descriptors")),
    ("lookup-per-address", "one listener has none", without("pointsman.per-address")),
    (
        "lookup-per-address",
        "off for unknown hosts",
        lambda dump: unknown(dump)["typed_per_filter_config"].pop("pointsman.per-address"),
    ),
    ("lookup-header", "a pod sees it", seen_by_pods),
    (
        "lookup-header",
        "a client may say it",
        lambda dump: manager(dump)["early_header_mutation_extensions"][0]["typed_config"]["mutations"][0][
            "remove_on_match"
        ]["key_matcher"].update(prefix="x-pointsman-scope"),
    ),
    ("lookup-fails-closed", "open", lambda dump: asking(dump)["typed_config"].update(failure_mode_allow=True)),
    ("lookup-fails-closed", "403 for 503", lambda dump: asking(dump)["typed_config"].pop("status_on_error")),
    ("lookup-fails-closed", "no end", lambda dump: asking(dump)["typed_config"]["grpc_service"].pop("timeout")),
    ("lookup-fails-closed", "one listener doesn't ask", without("pointsman.lookup")),
]


def status(dump: Dump) -> dict[str, str]:
    return {verdict.name: verdict.status for verdict in verdicts(from_dump(dump))}


def test_an_edge_that_looks_hosts_up_holds_every_row(dump: Dump) -> None:
    found = status(dump)
    assert [name for name, each in found.items() if each == "broken"] == []
    assert {found[rule.name] for rule in RULES} == {"held"}


def test_there_is_a_way_to_break_every_row() -> None:
    assert {row for row, _, _ in BREAKS} == {rule.name for rule in RULES}


def test_the_filter_that_asks_isnt_taken_for_the_one_that_holds_hosts_off(dump: Dump) -> None:
    without("pointsman.hosts")(broken := copy.deepcopy(dump))
    assert status(broken)["misdirected"] == "broken"


@pytest.mark.parametrize(
    ("row", "change"), [(row, change) for row, _, change in BREAKS], ids=[how for _, how, _ in BREAKS]
)
def test_a_broken_row_is_named(dump: Dump, row: str, change: Callable[[Dump], object]) -> None:
    change(broken := copy.deepcopy(dump))
    # A header of ours that a client may say is both rows' matter.
    assert {name for name, each in status(broken).items() if each == "broken"} - {"internal-headers"} == {row}
