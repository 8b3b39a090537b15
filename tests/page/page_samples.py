"""What a status page may have to show: a calm day, and a bad one."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from xds.http.page.content import (
    AckRow,
    ActRow,
    Alarm,
    AsideRow,
    CertificateRow,
    ChangeRow,
    Convergence,
    CopyRow,
    DomainRow,
    EnvoyRow,
    Envoys,
    Explanation,
    Held,
    HeldDomain,
    Link,
    Listing,
    NackRow,
    OneChange,
    OwnRow,
    PodRow,
    Point,
    Station,
    Status,
    UnknownRow,
    UnusedRow,
)

NOW = 1_795_640_649.0


def convergence() -> Convergence:
    chance = random.Random(7)
    points = []
    for step in range(180):
        if chance.random() < 0.75:
            median = 0.004 + chance.random() * 0.004
            p99 = median * (1.5 + chance.random() * 4) * (20 if step in (61, 62) else 1)
            points.append(
                Point(NOW - 1800 + step * 10, median, p99, p99 * (1 + chance.random()), 1000 * chance.randint(1, 9))
            )
    whole = Point(
        NOW - 1800, 0.006, 0.041, max(point.slowest for point in points), sum(point.count for point in points)
    )
    return Convergence(NOW, 1800.0, whole, points)


def changes() -> list[ChangeRow]:
    chance = random.Random(3)
    words = ["shop", "acme", "north", "blue", "tide", "mill", "orchard", "falcon", "paper", "lumen"]
    made = []
    for step in range(14):
        host = f"{chance.choice(words)}-{chance.choice(words)}.example.{chance.choice(['com', 'net', 'org'])}"
        before, after = chance.sample(range(1, 10), 2)
        text = f"{host}: pod{before} → pod{after}"
        made.append(
            ChangeRow(
                96 - step,
                48_213 - step,
                NOW - 2 - step * 3.7,
                text,
                "at all",
                "good",
                1000,
                1000,
                0.004 * (1 + step % 5),
                by=("ada@ops", "pod-mover")[step % 2],
            )
        )
    made[5] = replace(made[5], text=f"{made[5].text}, and 2 399 more")
    return made


def pods(number: int = 8) -> Listing[PodRow]:
    chance = random.Random(5)
    rows = [
        PodRow(f"pod{one + 1}", ("fra", "ams", "iad")[one % 3], int(1_000_000 / 24 * (1.05 + 0.4 * chance.random())), 4)
        for one in range(number)
    ]
    return Listing(sorted(rows, key=lambda row: -row.domains), 24, "pod9")


def envoys(bad: bool) -> Envoys:
    rows = [
        EnvoyRow(
            f"edge-fra-{one:03}",
            f"10.4.{one}.7:41832",
            "edge",
            "delta",
            86_400.0 * 3 + one * 4000,
            "good",
            "current",
            version="envoy 1.40.0",
            days=80.0,
        )
        for one in range(8)
    ]
    if bad:
        rows[2], rows[3] = replace(rows[2], days=2.0, ends="warn"), replace(rows[3], days=None)
        rows[0] = replace(rows[0], tone="bad", state="rejects", rejected=("route tables",))
        rows[1] = replace(rows[1], tone="idle", state="behind", behind=("route tables", "clusters"), connected=3.0)
    return Envoys(1000, 998 if bad else 1000, 1 if bad else 0, Listing(rows, 1000, "edge-fra-008"))


def explanation() -> Explanation:
    rows = [CopyRow(f"edge-fra-{n:03}", "good", "has it", "routes it to pod7", 86_400.0 * 3) for n in range(7)]
    rows.insert(0, CopyRow("edge-fra-412", "warn", "lacks route tables", "routes it to pod2", 86_400.0 * 3))
    return Explanation(
        "acme.example.com",
        "warn",
        "acme.example.com goes to pod7, and 999 of 1 000 Envoys have it so.",
        (),
        [
            Link(
                "Record",
                "acme.example.com → pod7",
                "good",
                "since revision 48 213, 2026-11-25 21:04:07; on pod2 before",
                [("made by", "ada@ops"), ("made at", "2026-11-25 21:04:07"), ("says who", "GDS, now")],
            ),
            Link("Scope", "ac", "good", "the first two characters choose the table; version 5d1c, published 3 d ago"),
            Link("Route table", "table-31", "good", "version 94896012c63d8a5f, published 2 s ago"),
            Link(
                "Virtual host",
                "pod7",
                "good",
                "prefix / → cluster pod7; version 1f09c7ba52e8d364, published 2 s ago",
            ),
            Link(
                "Cluster",
                "pod7",
                "good",
                "version 02c1593ebf716fb7, published 3 d ago",
                [("datacenter", "fra"), ("most connections", "1 024")],
            ),
            Link(
                "Endpoints",
                "2",
                "good",
                "version 7be0a3f1c42d9907, published 5 h ago",
                [("10.7.0.11:443", "zone a, weight 1, healthy"), ("10.7.0.12:443", "zone b, weight 1, healthy")],
            ),
            Link(
                "Certificate",
                "acme",
                "warn",
                "the customer's own; this one for 81 d",
                [("from", "2026-09-05"), ("until", "2026-12-04"), ("left", "9 d")],
            ),
        ],
        Listing(rows, 1000),
        "999 of 1 000 have it",
    )


def calm() -> Status:
    return Status(
        now=NOW,
        version="0.1.0",
        tone="good",
        verdict="Every Envoy has what GDS says.",
        stations=[
            Station("GDS", "48 213", "followed; heard 1 s ago", "good"),
            Station("Directory", "48 213", "1 000 000 domains on 24 pods", "good"),
            Station("Published", "48 213", "412 publishes", "good"),
            Station("Envoys", "1 000", "have everything", "good"),
        ],
        convergence=convergence(),
        changes=changes(),
        pods=pods(),
        envoys=envoys(bad=False),
        certificates=Listing(
            [
                CertificateRow("acme", ("acme.example.com", "www.acme.example.com"), 3, NOW + 86400 * 21, 21.0, "good"),
                CertificateRow("service", ("*.example.com",), 0, NOW + 86400 * 64, 64.0, "good"),
            ],
            1204,
        ),
        own=[
            OwnRow("xds.certificate", NOW + 86_400 * 52, 52.0, "good"),
            OwnRow("xds.client_ca", NOW + 86_400 * 3_200, 3_200.0, "good"),
        ],
        aside=Listing(),
        unknown=Listing([UnknownRow("wp-login.example.net", 4120, 0), UnknownRow("old.acme.example.com", 77, 3)], 212),
        unknown_requests=9_311,
        figures=[
            ("Started", "2026-11-22 09:12:44, 4 d ago"),
            ("Epoch of GDS", "01JDM5P0QK"),
            ("Changes", "48 207 in 412 publishes"),
            ("At the xDS port", "1 004 handshakes, 0 refused"),
        ],
    )


def trouble() -> Status:
    hostile = '<script>alert(1)</script>"\u202e&amp;'
    return replace(
        calm(),
        tone="bad",
        verdict="An Envoy rejects what it is sent, and a change of GDS is held.",
        stations=[
            Station("GDS", "48 219", "followed; heard 1 s ago", "good"),
            Station("Directory", "48 213", "a change is held; 1 000 000 domains on 24 pods", "warn", cut=True),
            Station("Published", "48 213", "412 publishes", "good"),
            Station("Envoys", "998 of 1 000", "1 rejects something, 1 is behind", "bad"),
        ],
        alarms=[
            Alarm("bad", "1 Envoy rejects a response", "nacks"),
            Alarm("warn", "A change of GDS is held", "held"),
            Alarm("warn", "1 certificate with less than 14 days left", "certificates"),
            Alarm("warn", "3 records set aside", "aside"),
        ],
        held=Held(
            "held",
            "moved",
            "3 domains would be removed and 120000 moved to another pod: 12% of 1000000, and more than 100000 are held "
            "(settings guard.share, guard.minimum)",
            NOW - 321,
            "",
            48_214,
            48_219,
            [("domains moved", 120_000), ("domains removed", 3), ("domains added", 41), ("pods removed", 1)],
            [HeldDomain(f"customer-{one}.example.com", "pod1", "pod7" if one else None) for one in range(6)],
            refusable=True,
        ),
        nacks=Listing(
            [
                NackRow(
                    NOW - 12,
                    f"edge-{hostile}",
                    "route tables",
                    ("table-17",),
                    f"Only unique domains are permitted: {hostile}",
                    True,
                ),
                NackRow(NOW - 99, "edge-fra-001", "clusters", ("pod3",), "cluster: bad address", False),
            ],
            2,
        ),
        changes=[replace(changes()[0], state="on its way", tone="idle", acked=998, seconds=None), *changes()[1:]],
        envoys=envoys(bad=True),
        certificates=Listing([CertificateRow("acme", ("acme.example.com",), 0, NOW + 86400 * 3, 3.0, "warn")], 1204),
        aside=Listing(
            [
                AsideRow("domain", "homeless.example.com", "its pod 'pod99' is not in the directory", 48_100),
                AsideRow("domain", hostile, "not a lower-case host name", 48_100),
                AsideRow("pod", "pod31", "endpoint 2: port 0 is not between 1 and 65535", 48_190),
            ],
            3,
        ),
        unused=Listing([UnusedRow(f"bad-{hostile}", "the key isn't that of the certificate", True)], 1),
        missing=1_200,
        folder_trouble="[Errno 5] Input/output error: 'certificates'",
    )


def listings() -> dict[str, Listing[Any]]:
    """The rows of the pages of lists, on a bad day."""
    bad, long = trouble(), "a-very-long-name-of-a-customer-that-goes-on-and-on." * 4 + "example.com"
    held, certificates = bad.held, bad.certificates
    assert held
    assert certificates
    return {
        "pods": pods(),
        "envoys": bad.envoys.listing,
        "envoys-behind": bad.envoys.listing,
        "domains": Listing(
            [DomainRow(long, "pod1", 48_213), DomainRow("acme.example.com", "pod7", 7)], 1_000_000, "0~a"
        ),
        "changes": Listing(bad.changes, 1_000, "83"),
        "held": Listing([*held.examples, HeldDomain(long, None, "pod7")], 120_044, "0~61"),
        "certificates": certificates,
        "certificates-set-aside": bad.unused,
        "set-aside": bad.aside,
        "audit": Listing(acts(), 211, "162"),
        "unknown-hosts": Listing([UnknownRow(long, 4_120, 12)], 1),
    }


def acts() -> list[ActRow]:
    mover = "spiffe://prod.example.com/ns/deploy/sa/pod-mover (nightly)"
    nothing = "nothing is held"
    return [
        ActRow(NOW - 40, "hold.release", "done", "good", "ada@ops", "10.4.0.9", "", 48_219),
        ActRow(
            NOW - 300,
            "POST /api/v1/hold/release",
            "denied",
            "bad",
            "",
            "203.0.113.7",
            "the token is another one (setting http.token_file)",
            None,
        ),
        ActRow(NOW - 500, "rollback", "done", "good", mover, "2001:db8::7", "", 48_190),
        ActRow(NOW - 501, "rollback", "asked", "idle", mover, "2001:db8::7", "", 48_190),
        ActRow(NOW - 900, "hold.refuse", "refused", "warn", "ada@ops", "10.4.0.9", nothing, None),
        ActRow(
            NOW - 90_000, "POST /api/v1/rollback", "failed", "bad", "ada@ops", "10.4.0.9", "OSError: [Errno 5]", None
        ),
    ]


def one_change() -> OneChange:
    bad = trouble()
    row = replace(bad.changes[0], state="rejected", tone="bad")
    facts = [("Epoch of GDS", "01JDM5P0QK"), ("Made by", "ada@ops"), ("Published after", "1 ms")]
    lacking, acks = ["edge-fra-412"], [AckRow(f"edge-fra-{one:03}", 0.004 + one / 1000) for one in range(50)]
    return OneChange(
        row,
        facts,
        [row.text] * 3,
        2_399,
        lacking,
        ["edge-gone"],
        bad.nacks.rows,
        bad.aside.rows,
        4,
        Listing(acks, 998, "50"),
    )
