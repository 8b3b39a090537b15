"""What is judged of the running control plane: for the page's first sentence, and for the status of the API."""

from __future__ import annotations

from xds.hold import Hold
from xds.http.lookup import lookup_state
from xds.http.page.verdict import SOON, Facts
from xds.http.view import View

_DAY = 86_400.0


def facts_of(view: View) -> Facts:
    """Costs the same however many domains, Envoys and certificates there are."""
    kept, now = view.kept(), view.tracker.wall()
    index = view.tls.index if view.tls else None
    soonest = index.soonest(1) if index else []
    own = min(view.own_certificates().items(), key=lambda one: one[1], default=None)
    lookup = lookup_state(view.lookup) if view.lookup else None
    return Facts(
        complete=view.directory.complete,
        why_not=view.unready,
        gds=view.mirror.state,
        silent=view.silent,
        stale=view.stale,
        envoys=len(view.tracker.streams),
        rejecting=len(view.tracker.rejecting),
        slow=len(view.tracker.late),
        hold=_hold(kept.hold),
        aside=view.directory.set_aside_total,
        ends=(soonest[0].facts.not_after - now) / _DAY if soonest else None,
        ending=index.expiring([now + SOON * _DAY])[0] if index else 0,
        own_ends=(own[1] - now) / _DAY if own else None,
        own_setting=own[0] if own else "",
        state_error=kept.writes.error,
        audit_error=view.audit.trouble,
        knows_nobody=lookup is not None and lookup.gds_knows_nobody,
        misses_many=lookup is not None and lookup.gds_doubted,
        breaker=lookup.breaker if lookup else "closed",
        pods_file=lookup.pods_error if lookup else "",
        unused=len(index.aside) if index else 0,
        missing=len(view.tls.folder.missing) if view.tls else 0,
        folder=view.tls.folder.trouble if view.tls else "",
        spared=view.spared,
    )


def _hold(hold: Hold | None) -> str:
    if hold is None:
        return "none"
    return "rollback" if hold.rolled_back else hold.state
