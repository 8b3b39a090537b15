"""What makes pages of the documents, for mkdocs: what they say of each other in code quotes, and of a chapter there in
italics after that, becomes links, which are checked; and a page that `mkdocs.yml` forgot is shown all the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from markdown.extensions.toc import slugify

DOCS = Path(__file__).parent
NAMED = re.compile(r"`docs/([\w-]+\.md)`(?:(,\s+)\*([^*]+)\*)?")
"""A document, and after a comma its chapter."""


def on_config(config: Any) -> Any:
    """mkdocs calls it with its settings."""
    forgotten = sorted({path.name for path in DOCS.glob("*.md")} - pages(config["nav"]))
    if forgotten:
        config["nav"] = [*config["nav"], {"More": forgotten}]
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """mkdocs calls it with each page."""
    return linked(markdown)


def linked(markdown: str) -> str:
    """The page with a link for each document, and chapter of one, that it names."""
    return NAMED.sub(_link, markdown)


def _link(found: re.Match[str]) -> str:
    page, between, chapter = found.groups()
    link = f"[{title(page)}]({page})"
    if chapter is None:
        return link
    return f"{link}{between}[*{chapter}*]({page}#{slugify(' '.join(chapter.split()), '-')})"


def title(name: str) -> str:
    path = DOCS / name
    return path.read_text().split("\n", 1)[0].removeprefix("# ") if path.exists() else name


def pages(nav: Any) -> set[str]:
    """The files that a navigation names."""
    if isinstance(nav, str):
        return {nav}
    return {page for entry in (nav.values() if isinstance(nav, dict) else nav) for page in pages(entry)}
