"""How everything stands, in a sentence: what is wrong comes first, and the sentence changes only when the state does.
Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xds.http.page.content import Alarm, Tone
from xds.http.page.words import duration, plural

SOON = 14
"""Days before its end from which a certificate is worth an alarm."""
_CLAUSES = 2


@dataclass(frozen=True, slots=True)
class Facts:
    """``gds`` is the mirror's state; ``silent`` seconds since GDS was heard; ``hold``: "none", "held", "refused", or
    "rollback" after one. ``slow``: Envoys that lack something for longer than usual. ``ends``: days until the first
    certificate ends, None when there is none; ``own_ends``, ``own_setting``: of those that the control plane itself
    shows or trusts. ``knows_nobody``: GDS has said no to each host that it was asked for;
    ``misses_many`` of those that it had; ``breaker``: "closed" while it is asked. ``unused``, ``missing``:
    certificates that can't be used, and that are kept though they are gone; ``folder``: why theirs can't be read.
    ``pods_file``: why that can't be used. ``spared``: Envoys that keep what they came back with."""

    complete: bool
    why_not: str
    gds: str
    silent: float | None
    stale: bool
    envoys: int
    rejecting: int = 0
    slow: int = 0
    hold: str = "none"
    aside: int = 0
    ends: float | None = None
    ending: int = 0
    state_error: str = ""
    audit_error: str = ""
    own_ends: float | None = None
    own_setting: str = ""
    knows_nobody: bool = False
    misses_many: bool = False
    breaker: str = "closed"
    pods_file: str = ""
    unused: int = 0
    missing: int = 0
    folder: str = ""
    spared: int = 0


@dataclass(frozen=True, slots=True)
class _Problem:
    tone: Tone
    clause: str
    alarm: str
    anchor: str


def judged(facts: Facts) -> tuple[Tone, str, Sequence[Alarm]]:
    """The tone, the sentence, and all that is wrong, the worst first."""
    problems = sorted(_problems(facts), key=lambda one: one.tone != "bad")
    alarms = [Alarm(one.tone, one.alarm, one.anchor) for one in problems]
    if problems:
        sentence = ", and ".join(one.clause for one in problems[:_CLAUSES])
        return problems[0].tone, sentence[0].upper() + sentence[1:] + ".", alarms
    if not facts.envoys:
        return "idle", "No Envoy is connected.", ()
    return "good", "Every Envoy has what GDS says.", ()


def _problems(facts: Facts) -> list[_Problem]:
    found = []

    def say(wrong: object, tone: Tone, clause: str, alarm: str, anchor: str) -> None:
        if wrong:
            found.append(_Problem(tone, clause, alarm, anchor))

    silent = "never heard" if facts.silent is None else f"not heard for {duration(facts.silent)}"
    one = facts.rejecting == 1
    say(not facts.complete, "bad", "there is no directory yet", facts.why_not, "way")
    say(facts.stale, "bad", "GDS is silent for too long", f"GDS: {silent}", "way")
    say(
        facts.rejecting,
        "bad",
        "an Envoy rejects what it is sent" if one else "several Envoys reject what they are sent",
        f"{plural(facts.rejecting, 'Envoy')} {'rejects' if one else 'reject'} a response",
        "nacks",
    )
    expired = facts.ends is not None and facts.ends < 0
    say(expired, "bad", "a certificate has expired", "A certificate has expired", "certificates")
    own = facts.own_ends if facts.own_ends is not None else SOON
    over = f"The control plane's own certificate has expired: setting {facts.own_setting}"
    say(own < 0, "bad", "the control plane's own certificate has expired", over, "certificates")
    say(facts.state_error, "bad", "the state can't be kept on disk", f"State folder: {facts.state_error}", "way")
    unwritten = f"Audit log: {facts.audit_error}"
    say(facts.audit_error, "bad", "the audit log can't be written", unwritten, "figures")
    away = facts.gds == "reconnecting" and not facts.stale
    say(away, "warn", "GDS isn't reached, so the Envoys keep what they have", f"GDS: {silent}", "way")
    failing = "GDS failed so often that it isn't asked for a while"
    say(facts.breaker != "closed", "warn", "GDS fails when it is asked for a host", failing, "way")
    many = "So many known hosts are missing at GDS that none is withdrawn"
    say(facts.misses_many, "warn", "GDS misses many of the hosts that it had", many, "figures")
    pods_file = f"Pods file: {facts.pods_file}"
    say(facts.pods_file, "warn", "the pods file can't be used as it is", pods_file, "pods")
    folder = f"Folder of certificates: {facts.folder}"
    say(facts.folder, "bad", "the folder of certificates can't be read", folder, "certificates")
    gone = f"{plural(facts.missing, 'certificate')} gone from the folder, and kept"
    say(facts.missing, "warn", "certificates are gone from their folder", gone, "certificates")
    unused = f"{plural(facts.unused, 'certificate')} set aside"
    say(facts.unused, "warn", "some certificates can't be used", unused, "certificates")
    spared = f"{plural(facts.spared, 'Envoy')} with other than the disk says, until GDS answers"
    say(facts.spared, "warn", "some Envoys keep what they came back with", spared, "figures")
    nobody = "GDS: no to each host that it was asked for since the start"
    say(facts.knows_nobody, "warn", "GDS knows no host, so it may be the wrong one", nobody, "way")
    back = "the edge was rolled back, and takes nothing of GDS"
    say(facts.hold == "rollback", "warn", back, "Rolled back: nothing of GDS goes out until it is released", "held")
    say(facts.hold == "held", "warn", "a change of GDS is held", "A change of GDS is held", "held")
    refused = "what GDS said was refused, so the edge goes on without it"
    say(facts.hold == "refused", "warn", refused, "Changes of GDS are refused", "held")
    say(
        facts.slow,
        "warn",
        "some Envoys are behind",
        f"{plural(facts.slow, 'Envoy')} behind for longer than usual",
        "envoys",
    )
    ending = f"{plural(facts.ending, 'certificate')} with less than {SOON} days left"
    say(facts.ending and not expired, "warn", "a certificate ends soon", ending, "certificates")
    few = f"The control plane's own certificate, setting {facts.own_setting}, with less than {SOON} days left"
    say(0 <= own < SOON, "warn", "the control plane's own certificate ends soon", few, "certificates")
    aside = f"{plural(facts.aside, 'record')} set aside"
    say(facts.aside, "warn", "some records of GDS can't be used", aside, "aside")
    return found
