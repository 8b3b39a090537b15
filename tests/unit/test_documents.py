"""What the documents say of the code is so, and they make a whole site."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def built(root: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """All pages of a checkout, built by the words of `make docs`."""
    (words,) = re.findall(r"/mkdocs (build .*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    command = [sys.executable, "-m", "mkdocs", *words.split(), "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=root, capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = built(ROOT, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.parametrize("link", ["[x](nowhere.md)", "[x](gds.md#nowhere)", "`docs/gds.md`, *Nowhere*"])
def test_a_link_that_leads_nowhere_is_an_error(link: str, tmp_path: Path) -> None:
    shutil.copytree(DOCS, tmp_path / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    page = tmp_path / "docs" / "start.md"
    page.write_text(f"{page.read_text()}\n{link}\n")
    done = built(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    assert "start.md" in done.stderr
    assert "nowhere" in done.stderr


def test_the_settings_are_documented_as_they_are() -> None:
    reference = runpy.run_path(str(DOCS / "reference.py"))
    assert (DOCS / "settings.md").read_text() == reference["pages"](), "run `make reference`"


def test_the_calls_of_gds_are_documented_as_they_are() -> None:
    reference = runpy.run_path(str(DOCS / "gds_reference.py"))
    assert (DOCS / "gds-openapi.json").read_text() == reference["document"](), "run `make reference`"
    assert (DOCS / "gds-api.md").read_text() == reference["page"](), "run `make reference`"


def test_the_metrics_are_documented_as_they_are() -> None:
    reference = runpy.run_path(str(DOCS / "metrics_reference.py"))
    assert (DOCS / "metrics.md").read_text() == reference["page"](), "run `make reference`"


def test_the_site_has_every_page_and_every_page_is_in_its_navigation(site: Path) -> None:
    index = (site / "index.html").read_text()
    for page in DOCS.glob("*.md"):
        assert (site / f"{page.stem}.html").exists()
        assert f'href="{page.stem}.html"' in index or page.stem == "index", f"{page.name} is in no navigation"


def test_a_navigation_of_its_own_holds_what_mkdocs_yml_names() -> None:
    tools = runpy.run_path(str(DOCS / "site.py"))
    named = tools["pages"](yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert named <= {page.name for page in DOCS.glob("*.md")}


def test_a_document_that_is_named_is_linked(site: Path) -> None:
    assert (
        'href="gds.html"' in (site / "operating.html").read_text()
        or "docs/gds.md" not in (DOCS / "operating.md").read_text()
    )
    tools = runpy.run_path(str(DOCS / "site.py"))
    assert tools["linked"]("see `docs/gds.md`.") == "see [What a GDS must offer](gds.md)."


def test_a_chapter_that_is_named_is_linked_so_that_it_must_be_there(site: Path) -> None:
    tools = runpy.run_path(str(DOCS / "site.py"))
    linked = "[Architecture](architecture.md), [*Large\nchanges*](architecture.md#large-changes)"
    assert tools["linked"]("`docs/architecture.md`, *Large\nchanges*") == linked
    assert 'href="architecture.html#large-changes"' in (site / "install.html").read_text()


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|img|iframe)[^>]*src="([^"]+)"|<link[^>]*href="([^"]+)"', page.read_text())
        assert [one for pair in loaded for one in pair if re.match(r"(https?:)?//", one)] == [], page.name
    for sheet in site.rglob("*.css"):
        assert re.findall(r"url\([\"']?https?:", sheet.read_text()) == [], sheet.name


def test_the_command_line_is_documented_as_it_is() -> None:
    reference = runpy.run_path(str(DOCS / "reference.py"))
    assert (DOCS / "cli.md").read_text() == reference["cli_page"](), "run `make reference`"


def test_every_runbook_that_an_alert_leads_to_is_in_the_site(site: Path) -> None:
    rules = yaml.safe_load((ROOT / "ops" / "prometheus" / "alerts.yml").read_text())["groups"][0]["rules"]
    for rule in rules:
        page, _, anchor = (
            rule["annotations"]["runbook_url"].removeprefix("https://docs.example.com/pointsman/").partition("#")
        )
        assert f'id="{anchor}"' in (site / page).read_text(), rule["alert"]
