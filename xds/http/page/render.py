"""Content in, HTML out: the templates, which escape every value. Pure but for reading the templates once."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from xds import __version__
from xds.http.page import chart, words
from xds.http.page.content import CopyRow, Explanation, Listing, OneChange, Status, Tone

STATIC = Path(__file__).with_name("static")
GROUPS = (
    ("verdict",),
    ("way",),
    ("held",),
    ("nacks",),
    ("convergence", "changes"),
    ("envoys", "pods"),
    ("certificates",),
    ("aside",),
    ("unknown",),
    ("figures",),
)
"""The sections in the order of the page; two together are a column."""
SECTIONS = tuple(name for group in GROUPS for name in group)
"""Each is a template of its own, and sent anew when it changes."""
PAGES = {
    "envoys": "Envoys",
    "pods": "Pods",
    "domains": "Domains",
    "changes": "Changes",
    "certificates": "Certificates",
    "set-aside": "Set aside",
    "unknown-hosts": "Unknown hosts",
    "audit": "Audit log",
    "envoys-behind": "Envoys behind",
    "held": "Held domains",
    "certificates-set-aside": "Certificates set aside",
}
_OUTSIDE = 8
"""So many of them are in the menu; to the others a section leads."""

_NAME, _TEXT = 260, 2_000


def _stamp() -> str:
    """Names what the static files hold, so that a browser keeps none of an older version."""
    content = b"".join(path.read_bytes() for path in sorted(STATIC.iterdir()))
    return sha256(content).hexdigest()[:12]


STAMP = _stamp()


def section(name: str, status: Status) -> str:
    """What is inside one of the SECTIONS."""
    return _env.get_template(f"sections/{name}.html").render(s=status)


def sections(status: Status) -> Mapping[str, str]:
    """Each of the SECTIONS by its name."""
    return {name: section(name, status) for name in SECTIONS}


def status_page(status: Status) -> str:
    # The templates escaped what is in the sections.
    parts = {name: Markup(html) for name, html in sections(status).items()}  # nosec B704
    return _env.get_template("status.html").render(s=status, parts=parts, groups=GROUPS, here="status")


def list_page(name: str, listing: Listing[object], said: str, *, first: bool) -> str:
    """``name`` is one of PAGES; ``first``: these aren't the first rows."""
    return _env.get_template("list.html").render(here=name, title=PAGES[name], listing=listing, said=said, first=first)


def explain_page(asked: str, explanation: Explanation | None) -> str:
    return _env.get_template("explain.html").render(here="explain", asked=asked, e=explanation)


def copies_page(asked: str, copies: Listing[CopyRow], *, first: bool) -> str:
    """Every Envoy with what it has of a host; ``first``: these aren't the first rows."""
    return _env.get_template("copies.html").render(here="explain", asked=asked, copies=copies, first=first)


def change_page(change: OneChange, *, first: bool) -> str:
    """``first``: these aren't the first of those that ACKed it."""
    return _env.get_template("change.html").render(here="change", c=change, first=first)


def printable(value: object) -> object:
    """Of any value that a template writes: a text without what would turn or hide the text around it."""
    if type(value) is not str or value.isprintable():
        return value
    return "".join(letter if letter.isprintable() or letter in "\n\t\u202f" else "\ufffd" for letter in value)


def _shown(name: str) -> str:
    return words.clipped(name, _NAME)


def _said(text: str) -> str:
    return words.clipped(text, _TEXT)


def title_of(verdict: str, tone: Tone) -> str:
    """The window's title: the first sentence, with a mark when somebody should look."""
    return ("▲ " if tone in ("warn", "bad") else "") + verdict.split(". ")[0].removesuffix(".")


def _environment() -> Environment:
    env = Environment(
        loader=PackageLoader("xds.http.page"),
        autoescape=True,
        finalize=printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    for function in (words.number, words.plural, words.duration, words.clock, words.moment, words.iso):
        env.filters[function.__name__] = function
    env.filters |= {"chart": chart.chart, "described": chart.described}
    env.filters |= {"shown": _shown, "said": _said, "title_of": title_of}
    env.globals |= {"version": __version__, "stamp": STAMP, "pages": [*PAGES.items()][:_OUTSIDE]}
    return env


_env = _environment()
