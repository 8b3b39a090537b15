"""Where a host goes, link by link, for people."""

from __future__ import annotations

from xds.errors import RecordError
from xds.gds.model import check_domain, normalise_host
from xds.http.page.content import Explanation, Link
from xds.http.page.words import number
from xds.http.view import View
from xds.resources.routes import table_name


def explained(view: View, host: str) -> Explanation:
    """Of any text that somebody may have written."""
    name = normalise_host(host)
    try:
        check_domain(name)
    except RecordError as error:
        return Explanation(host, "bad", f"This is no host that can be looked up: {error}")
    if not view.directory.complete:
        return Explanation(name, "bad", view.unready)
    found = view.directory.lookup(name)
    if found is None:
        return Explanation(name, "warn", f"{name} is on no pod at revision {number(view.directory.revision)} of GDS.")
    entry, pod = found
    links = [
        Link("Record", f"{entry} → {pod}", "good", f"since revision {number(view.directory.revision_of(entry))}"),
        Link("Route table", table_name(view.tables.number_of(name)), "good"),
    ]
    return Explanation(name, "good", f"{name} goes to {pod}.", links)
