"""The page of a real control plane, with a real GDS and a real Envoy behind it, in a real Chromium."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from edge_harness import Edge, customers, running
from operator_desk import command
from page_harness import CHROMIUM, FLAGS, needs_chromium
from playwright.sync_api import Browser, Page, expect, sync_playwright
from wire_envoy import WireEnvoy

from demo.system import LOOPBACK
from xds.http.page.render import PAGES

pytestmark = needs_chromium
DOMAINS = 1000


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with running(tmp_path_factory.mktemp("page"), domains=DOMAINS) as edge:
        yield edge


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS])
        yield browser
        browser.close()


@pytest.fixture
def page(edge: Edge, browser: Browser) -> Iterator[Page]:
    token = (edge.system.folder / "state" / "token").read_text().strip()
    page = browser.new_page(
        viewport={"width": 1360, "height": 900}, http_credentials={"username": "ada", "password": token}
    )
    page.goto(f"{edge.system.api_url}/")
    expect(page.locator("#link")).to_have_text("live,")
    yield page
    page.close()


def test_a_move_is_seen_as_it_goes_to_the_envoy(edge: Edge, page: Page) -> None:
    expect(page.locator("#sentence")).to_have_text("Every Envoy has what GDS says.")
    revision = edge.put("moves.example.com", "pod1")
    row = page.locator(f'#changes [data-revision="{revision}"]')
    expect(row).to_contain_text("moves.example.com: new on pod1")
    expect(row).to_contain_text("at all 1/1")
    revision = edge.put("moves.example.com", "pod2")
    expect(page.locator(f'#changes [data-revision="{revision}"]')).to_contain_text("moves.example.com: pod1 → pod2")
    expect(page.locator("#convergence .chart")).to_contain_text("ACKs in the last 5 min")
    expect(page.locator("#envoys")).to_contain_text("1 of 1 have everything")
    expect(page.locator("#pods tbody tr")).to_have_count(3)


def test_a_change_leads_to_its_receipt_with_each_envoy_that_has_it(edge: Edge, page: Page) -> None:
    revision = edge.put("receipt.example.com", "pod1")
    page.locator(f'#changes [data-revision="{revision}"] a').click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Revision {revision}")
    expect(page.locator("p.verdict")).to_contain_text("receipt.example.com: new on pod1: at all")
    expect(page.locator(".acks tbody tr")).to_have_count(1)
    expect(page.locator(".acks tbody tr")).to_contain_text("edge-1")
    expect(page.locator(".figures")).to_contain_text("1 of 1")
    expect(page.locator(".figures")).to_contain_text("Last ACK after its publish")


def test_who_moved_a_host_is_seen_with_the_change_and_in_its_explanation(edge: Edge, page: Page) -> None:
    who = {"GDS-Actor": "Ada <b>Lovelace</b>"}
    answer = edge.gds.put("/backend/whose.example.com", json={"pod": "pod2"}, headers=who)
    revision = answer.json()["revision"]
    expect(page.locator(f'#changes [data-revision="{revision}"]')).to_contain_text(
        "whose.example.com: new on pod2 by Ada <b>Lovelace</b>"
    )
    edge.becomes("whose.example.com", "pod2")
    page.goto(f"{edge.system.api_url}/explain?host=whose.example.com")
    expect(page.locator(".chain")).to_contain_text("made byAda <b>Lovelace</b>")
    expect(page.locator(".chain")).to_contain_text("says whoGDS, now")
    expect(page.locator(".chain")).to_contain_text("published ")
    page.goto(f"{edge.system.api_url}/explain-envoys?host=whose.example.com")
    expect(page.get_by_role("heading", level=1)).to_have_text("whose.example.com at the Envoys")
    expect(page.locator(".copies")).to_contain_text("edge-1")


def test_a_host_is_explained(edge: Edge, page: Page) -> None:
    edge.put("why.example.com", "pod3")
    edge.becomes("why.example.com", "pod3")
    page.get_by_label("Explain a host").fill("WHY.example.com")
    page.get_by_label("Explain a host").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("why.example.com")
    expect(page.locator("p.verdict")).to_contain_text("why.example.com goes to pod3, and every Envoy has it so.")
    expect(page.locator(".chain")).to_contain_text("Virtual host")
    expect(page.locator(".copies")).to_contain_text("has it")
    expect(page.locator(".chain")).to_contain_text("nobody that is named")
    page.goto(f"{edge.system.api_url}/explain?host=nobody.test")
    expect(page.locator("p.verdict")).to_contain_text("nobody.test goes nowhere: clients get ")
    page.goto(f"{edge.system.api_url}/explain?host=not+a+host")
    expect(page.locator("p.verdict")).to_contain_text("not a")


def test_an_envoy_that_rejects_is_seen_with_its_reason(edge: Edge, page: Page) -> None:
    where = LOOPBACK, edge.system.ports.xds
    with WireEnvoy(edge.system.folder, where, "edge-<b>bad</b>", answer="nack"):
        expect(page.locator("#sentence")).to_have_text("An Envoy rejects what it is sent.")
        expect(page.locator("#nacks li.bad").first).to_contain_text("edge-<b>bad</b> rejected")
        expect(page.locator("#envoys tbody tr").first).to_contain_text("rejects")
        expect(page.locator("#envoys")).to_contain_text("1 of 2 have everything")
    expect(page.locator("#envoys")).to_contain_text("1 of 1 have everything")


def test_a_held_change_is_seen_with_what_a_release_would_do(edge: Edge, page: Page) -> None:
    held = page.locator("#held")
    expect(held).to_contain_text("none")
    moved = [domain for domain, pod in customers(DOMAINS) if pod == "pod1"][:150]
    edge.load(*[{"op": "put", "domain": domain, "pod": "pod2"} for domain in moved])
    expect(held).to_contain_text("pointsman hold release")
    expect(held.locator(".effects")).to_have_text("domains moved150", use_inner_text=False)
    expect(page.locator("#sentence")).to_have_text("A change of GDS is held.")
    edge.load(*[{"op": "put", "domain": domain, "pod": "pod1"} for domain in moved])
    expect(held).to_contain_text("none")


def test_a_rollback_is_seen_until_it_is_released_and_who_ordered_it(edge: Edge, page: Page) -> None:
    revision = edge.put("back.example.com", "pod1")
    edge.becomes("back.example.com", "pod1")
    edge.put("back.example.com", "pod2")
    edge.becomes("back.example.com", "pod2")
    assert command(edge, "rollback", "to", str(revision))[0] == 0
    sentence, held = page.locator("#sentence"), page.locator("#held")
    expect(sentence).to_have_text("The edge was rolled back, and takes nothing of GDS.")
    expect(held).to_contain_text("Rolled back since")
    expect(held.locator(".effects")).to_have_text("domains moved1", use_inner_text=False)
    expect(held).not_to_contain_text("hold refuse")
    expect(page.locator("#way li").nth(1)).to_contain_text("rolled back; ")
    edge.put("back.example.com", "pod1")
    expect(held).to_contain_text("change nothing: GDS says what the edge has")
    page.get_by_role("link", name="Who ordered what").click()
    newest = page.locator(".acts tbody tr").first
    for said in ("rollback", "done", LOOPBACK, f"revision {revision}"):
        expect(newest).to_contain_text(said)
    page.goto(f"{edge.system.api_url}/")
    assert command(edge, "hold", "release")[0] == 0
    expect(sentence).to_have_text("Every Envoy has what GDS says.")


def test_a_silent_gds_is_seen(edge: Edge, page: Page) -> None:
    edge.system.kill("gds")
    expect(page.locator("#way li").first).to_contain_text("reconnecting")
    edge.system.start_gds()
    edge.system.wait_gds()
    expect(page.locator("#way li").first).to_contain_text("followed")


@pytest.mark.parametrize("path", [*PAGES])
def test_every_list_is_there(edge: Edge, page: Page, path: str) -> None:
    answer = page.goto(f"{edge.system.api_url}/{path}")
    assert answer is not None
    assert answer.status == 200
    expect(page.get_by_role("heading", level=1)).to_have_text(PAGES[path])
