"""The sentence at the top, and what a change and a host are said to be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from xds.http import explain as api
from xds.http.page.explained import told
from xds.http.page.rows import changes, envoy, said, splits_said
from xds.http.page.verdict import Facts, judged
from xds.http.view import Counts
from xds.receipt import Move, Receipt
from xds.receipts import Receipts
from xds.server.streams import NodeState

WELL = Facts(complete=True, why_not="", gds="following", silent=0.4, stale=False, envoys=3, ends=40.0)


def test_when_all_is_well_one_sentence_says_so_and_nothing_else() -> None:
    assert judged(WELL) == ("good", "Every Envoy has what GDS says.", ())


@pytest.mark.parametrize(
    ("facts", "tone", "sentence", "anchor"),
    [
        (replace(WELL, rejecting=1), "bad", "An Envoy rejects what it is sent.", "nacks"),
        (replace(WELL, rejecting=7), "bad", "Several Envoys reject what they are sent.", "nacks"),
        (replace(WELL, hold="held"), "warn", "A change of GDS is held.", "held"),
        (replace(WELL, hold="rollback"), "warn", "The edge was rolled back, and takes nothing of GDS.", "held"),
        (
            replace(WELL, hold="refused"),
            "warn",
            "What GDS said was refused, so the edge goes on without it.",
            "held",
        ),
        (replace(WELL, gds="reconnecting"), "warn", "GDS isn't reached, so the Envoys keep what they have.", "way"),
        (replace(WELL, stale=True, silent=900), "bad", "GDS is silent for too long.", "way"),
        (replace(WELL, slow=2), "warn", "Some Envoys are behind.", "envoys"),
        (
            replace(WELL, ends=-1.0, ending=1),
            "bad",
            "A certificate has expired.",
            "certificates",
        ),
        (replace(WELL, ends=3.0, ending=1), "warn", "A certificate ends soon.", "certificates"),
        (
            replace(WELL, own_ends=-0.1, own_setting="xds.certificate"),
            "bad",
            "The control plane's own certificate has expired.",
            "certificates",
        ),
        (
            replace(WELL, own_ends=0.0, own_setting="xds.client_ca"),
            "warn",
            "The control plane's own certificate ends soon.",
            "certificates",
        ),
        (replace(WELL, aside=4), "warn", "Some records of GDS can't be used.", "aside"),
        (replace(WELL, complete=False, why_not="no snapshot"), "bad", "There is no directory yet.", "way"),
        (replace(WELL, knows_nobody=True), "warn", "GDS knows no host, so it may be the wrong one.", "way"),
        (replace(WELL, breaker="open"), "warn", "GDS fails when it is asked for a host.", "way"),
        (replace(WELL, misses_many=True), "warn", "GDS misses many of the hosts that it had.", "figures"),
        (replace(WELL, pods_file="no such file"), "warn", "The pods file can't be used as it is.", "pods"),
        (replace(WELL, folder="I/O error"), "bad", "The folder of certificates can't be read.", "certificates"),
        (replace(WELL, missing=9), "warn", "Certificates are gone from their folder.", "certificates"),
        (replace(WELL, unused=2), "warn", "Some certificates can't be used.", "certificates"),
        (replace(WELL, spared=1), "warn", "Some Envoys keep what they came back with.", "figures"),
        (replace(WELL, audit_error="disk full"), "bad", "The audit log can't be written.", "figures"),
        (replace(WELL, state_error="disk full"), "bad", "The state can't be kept on disk.", "way"),
    ],
)
def test_what_is_wrong_is_said_and_leads_to_its_section(facts: Facts, tone: str, sentence: str, anchor: str) -> None:
    found = judged(facts)
    assert (found[0], found[1], found[2][0].anchor) == (tone, sentence, anchor)


def test_the_worst_comes_first_and_a_number_does_not_change_the_sentence() -> None:
    both = replace(WELL, hold="held", rejecting=1)
    assert judged(both)[1] == "An Envoy rejects what it is sent, and a change of GDS is held."
    assert judged(replace(WELL, aside=4))[1] == judged(replace(WELL, aside=5))[1]


def test_own_certificates_are_an_alarm_when_few_days_are_left_and_it_names_the_setting() -> None:
    assert judged(replace(WELL, own_ends=14.0, own_setting="gds.ca"))[0] == "good"
    assert "setting gds.ca" in judged(replace(WELL, own_ends=13.9, own_setting="gds.ca"))[2][0].text


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({}, "3 split over all tables"),
        ({"splitting": True}, "3 split over all tables; a step is under way"),
        (
            {"splitting": True, "split_lacking": 1, "splits_untaken": 2},
            "3 split over all tables; a step is under way, 1 Envoy to take it; "
            "2 steps not taken by every Envoy in time",
        ),
    ],
)
def test_pairs_that_are_split_are_told_of_with_the_step_under_way(counts: dict[str, Any], words: str) -> None:
    assert splits_said(Counts(0, 0, 0, 0, {}, **counts), 3) == words
    assert splits_said(Counts(0, 0, 0, 0, {}), 0) == ""


def test_no_envoys_are_no_alarm_but_no_success() -> None:
    assert judged(replace(WELL, envoys=0))[:2] == ("idle", "No Envoy is connected.")


@pytest.mark.parametrize(
    ("moves", "changes", "words"),
    [
        ([Move("domain", "a.test", "pod1", "pod2")], 1, "a.test: pod1 → pod2"),
        ([Move("domain", "a.test", None, "pod2")], 1, "a.test: new on pod2"),
        ([Move("domain", "a.test", "pod1", None)], 1, "a.test: removed from pod1"),
        ([Move("pod", "pod9", None, "pod9")], 1, "pod pod9 added"),
        ([Move("pod", "pod9", "pod9", None)], 1, "pod pod9 removed"),
        ([Move("domain", "a.test", "pod1", "pod2")] * 2, 1_200, "a.test: pod1 → pod2, and 1\u202f199 more"),
        ([], 3, "3 changes"),
    ],
)
def test_a_change_is_said_by_its_first_record_and_how_many_more(moves: list[Move], changes: int, words: str) -> None:
    assert said(Receipt("e", 7, "change", changes, tuple(moves), 0.0, 0.0)) == words


def test_a_change_that_only_an_envoy_which_left_lacks_says_so() -> None:
    receipts = Receipts(grace=30)
    for name in ("a", "b"):
        receipts.joined(name, name, 0.0)
        receipts.reached(name, 0, 0.0)
    receipts.received(Receipt("e", 7, "change", 0, (), 1.0, 1.0))
    receipts.published("e", 7, 1, 1.0)
    receipts.left("b", 2.0)
    assert [row.state for row in changes(receipts)] == ["on its way"]
    receipts.reached("a", 1, 2.0)
    assert [row.state for row in changes(receipts)] == ["an Envoy left without it"]
    receipts.over(32.0)
    assert [row.state for row in changes(receipts)] == ["at all"]


def explanation(have_it: int = 3, notes: tuple[str, ...] = ()) -> api.Explanation:
    record = api.Record(
        domain="a.test",
        pod="pod1",
        revision=4,
        received_at=None,
        previous_pod="pod2",
        by="ada",
        committed_at=0.0,
        source="gds",
        unknown_because=None,
    )
    since, before = api.Age(seconds=240, since_start=False), api.Age(seconds=7200, since_start=True)
    cluster = api.Cluster(
        name="pod1",
        version="v",
        age=since,
        endpoints_version="w",
        endpoints_age=before,
        datacenter="",
        max_connections=9,
        endpoints=[],
    )
    return api.Explanation(
        host="a.test",
        epoch="e",
        revision=9,
        published=9,
        routed=True,
        answer="the answer of pod pod1",
        notes=list(notes),
        record=record,
        gds=api.Asked(state="told", text="", domain="a.test", pod="pod1", revision=4, by="ada", committed_at=0.0),
        scope=api.Scope(key="a.", name="scope-a.", table="table-3", split=False, version="s", age=before),
        table="table-3",
        table_version="v",
        table_age=since,
        virtual_host="pod1",
        virtual_host_version="h",
        virtual_host_age=since,
        route="prefix / → cluster pod1",
        cluster=cluster,
        certificate=None,
        envoys=api.Envoys(connected=3, have_it=have_it, rejecting=0, shown=[]),
        probe=None,
    )


def test_a_host_is_explained_link_by_link() -> None:
    found = told(explanation())
    assert (found.tone, found.answer) == ("good", "a.test goes to pod1, and every Envoy has it so.")
    names = ["Record", "Scope", "Route table", "Virtual host", "Cluster", "Endpoints"]
    assert [link.name for link in found.links] == names
    assert found.links[0].note == "since revision 4; on pod2 before"
    assert (found.links[-1].value, found.links[-1].tone) == ("0", "bad")


def test_each_link_has_the_age_of_its_version_and_says_when_only_the_start_is_known() -> None:
    notes = {link.name: link.note for link in told(explanation()).links}
    assert notes["Route table"] == "version v, published 4 min ago"
    assert notes["Virtual host"] == "prefix / → cluster pod1; version h, published 4 min ago"
    assert notes["Cluster"] == "version v, published 4 min ago"
    assert notes["Endpoints"] == "version w, as at the start 2 h ago; how old it was then isn't known"
    assert notes["Scope"].endswith("; version s, as at the start 2 h ago; how old it was then isn't known")


@pytest.mark.parametrize(
    ("since_start", "words"),
    [
        (False, "the customer's own; this one for 4 min"),
        (True, "the customer's own; as at the start 4 min ago, since when before that isn't known"),
    ],
)
def test_the_certificate_says_since_when_it_is_the_one_and_from_when_to_when_it_is_valid(
    since_start: bool, words: str
) -> None:
    certificate = api.Certificate(
        name="acme",
        covers=True,
        on_demand=True,
        age=api.Age(seconds=240, since_start=since_start),
        not_before="2026-09-01T00:00:00+00:00",
        not_after="2026-12-01T00:00:00+00:00",
        days=60,
        note="the customer's own",
    )
    link = [*told(explanation().model_copy(update={"certificate": certificate})).links][-1]
    assert (link.name, link.note) == ("Certificate", words)
    assert link.facts[:2] == [("from", "2026-09-01T00:00:00+00:00"), ("until", "2026-12-01T00:00:00+00:00")]


def test_the_record_says_who_made_it_and_when_or_why_nobody_knows() -> None:
    found = explanation()
    assert told(found).links[0].facts[0] == ("made by", "ada")
    assert told(found).links[0].facts[1] == ("made at", "1970-01-01 00:00:00")
    assert told(found).links[0].facts[2] == ("says who", "GDS, now")
    assert found.record
    unknown = {"by": None, "committed_at": None, "source": None, "unknown_because": "GDS can't be read"}
    nobody = found.model_copy(update={"record": found.record.model_copy(update=unknown)})
    assert told(nobody).links[0].note.endswith("; by whom and when isn't known: GDS can't be read")
    assert not told(nobody).links[0].facts


def test_what_stands_in_the_way_makes_it_no_success() -> None:
    assert told(explanation(notes=("held back",))).tone == "warn"
    assert told(explanation(have_it=2)).answer == "a.test goes to pod1, and 2 of 3 Envoys have it so."


def test_a_host_on_no_pod_is_said_to_go_nowhere() -> None:
    nowhere = explanation().model_copy(
        update={"record": None, "virtual_host": None, "cluster": None, "answer": "404", "routed": False}
    )
    found = told(nowhere)
    assert (found.tone, found.answer) == ("warn", "a.test goes nowhere: clients get 404.")
    assert [link.name for link in found.links] == ["Record", "Scope", "Route table"]


def test_a_change_is_not_called_at_all_while_a_rejected_record_is_searched_for() -> None:
    searching = [True]
    receipts = Receipts(searching=lambda: searching[0])
    receipts.joined("a", "a", 0.0)
    receipts.reached("a", 0, 0.0)
    receipts.received(Receipt("e", 7, "change", 0, (), 1.0, 1.0))
    receipts.published("e", 7, 1, 1.0)
    receipts.reached("a", 1, 2.0)
    assert [row.state for row in changes(receipts)] == ["being checked"]
    searching.clear()
    searching.append(False)
    receipts.searched()
    assert [row.state for row in changes(receipts)] == ["at all"]


@pytest.mark.parametrize(
    ("ends", "days", "tone"), [(0.0, None, "good"), (1e9 + 864_000, 10.0, "warn"), (1e9 - 86_400, -1.0, "bad")]
)
def test_an_envoy_is_listed_with_its_version_and_how_long_its_certificate_lasts(
    ends: float, days: float | None, tone: str
) -> None:
    state = NodeState("edge-1", "edge", "envoy 1.40.0", "ipv4:10.0.0.1:5", "", "delta", 3.0, [], certificate_ends=ends)
    row = envoy(state, lacks=False, now=1e9)
    assert (row.version, row.days, row.ends) == ("envoy 1.40.0", days, tone)
