"""The status page in a real Chromium: live, by keyboard, on a phone, in the dark, for a screen reader."""

from __future__ import annotations

from dataclasses import replace

import pytest
from axe_playwright_python.async_playwright import Axe
from page_harness import DESK, PHONE, ZOOMED, Desk, needs_chromium, opened, served
from page_samples import NOW, acts, calm, changes, pods, trouble
from playwright.async_api import Browser, expect

from demo.ports import free_ports
from xds.http.page.content import ChangeRow
from xds.http.page.render import PAGES

pytestmark = [needs_chromium, pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("desk")]

FRESH = ChangeRow(97, 48_214, NOW, "fresh.example.com: pod1 → pod2", "at all", "good", 1000, 1000, 0.006)


async def test_a_change_appears_as_it_happens_without_a_reload(browser: Browser, address: str, desk: Desk) -> None:
    complaints: list[str] = []
    page = await opened(browser, f"{address}/", complaints=complaints)
    await page.evaluate("window.stays = true")
    await expect(page.locator("#link")).to_have_text("live,")
    desk.state = replace(calm(), changes=[FRESH, *changes()])
    await expect(page.locator("#change-97")).to_contain_text("fresh.example.com: pod1 → pod2")
    assert await page.locator("#changes tbody tr").first.get_attribute("id") == "change-97"
    assert await page.evaluate("window.stays") is True
    assert complaints == []


async def test_a_held_change_and_a_nack_appear_with_what_to_do(browser: Browser, address: str, desk: Desk) -> None:
    page = await opened(browser, f"{address}/")
    await expect(page.locator("#held")).to_contain_text("none")
    desk.state = trouble()
    held = page.locator("#held")
    await expect(held).to_contain_text("pointsman hold release")
    await expect(held).to_contain_text("120\u202f000")
    await expect(page.locator("#nacks")).to_contain_text("Only unique domains are permitted")
    await expect(page).to_have_title("▲ An Envoy rejects what it is sent, and a change of GDS is held · Pointsman")
    desk.state = calm()
    await expect(held).to_have_text("Held changesnone")
    await expect(page).to_have_title("Every Envoy has what GDS says · Pointsman")


async def test_what_envoys_and_clients_name_is_text_and_nothing_else(
    browser: Browser, address: str, desk: Desk
) -> None:
    desk.state = trouble()
    complaints: list[str] = []
    page = await opened(browser, f"{address}/", complaints=complaints)
    await expect(page.locator("#link")).to_have_text("live,")
    desk.state = replace(trouble(), now=NOW + 1, verdict="<img src=x onerror=alert(1)>")
    await expect(page.locator("#sentence")).to_have_text("<img src=x onerror=alert(1)>")
    assert await page.locator("main script, main img").count() == 0
    await page.goto(f"{address}/explain?host=%3Cscript%3Ealert(1)%3C/script%3E")
    await expect(page.locator("h1")).to_have_text("<script>alert(1)</script>")
    assert complaints == []


async def test_what_has_the_focus_keeps_it_while_its_section_moves(browser: Browser, address: str, desk: Desk) -> None:
    page = await opened(browser, f"{address}/")
    await expect(page.locator("#link")).to_have_text("live,")
    await page.get_by_role("link", name="All 24 pods").focus()
    desk.state = replace(calm(), now=NOW + 10, pods=pods(7))
    await expect(page.locator("#pods tbody tr")).to_have_count(7)
    await expect(page.get_by_role("link", name="All 24 pods")).to_be_focused()


async def test_open_details_stay_open_while_the_chart_goes_on(browser: Browser, address: str, desk: Desk) -> None:
    page = await opened(browser, f"{address}/")
    await page.locator("summary").click()
    series = calm().convergence
    assert series
    later = replace(series, now=series.now + 60, points=series.points[5:])
    desk.state = replace(calm(), convergence=later)
    await expect(page.locator("#convergence .chart text").last).to_have_text("21:05")
    await expect(page.locator("#convergence details table")).to_be_visible()


async def test_it_can_be_paused_and_goes_on(browser: Browser, address: str, desk: Desk) -> None:
    page = await opened(browser, f"{address}/")
    await expect(page.locator("#link")).to_have_text("live,")
    await page.get_by_role("button", name="Pause").click()
    await expect(page.locator("#link")).to_have_text("paused at")
    desk.state = replace(calm(), changes=[FRESH, *changes()])
    await page.wait_for_timeout(1500)
    assert await page.locator("#change-97").count() == 0
    await page.get_by_role("button", name="Resume").click()
    await expect(page.locator("#change-97")).to_be_visible()


async def test_it_says_when_it_is_not_live_any_more_and_comes_back(browser: Browser, desk: Desk) -> None:
    (port,) = free_ports(1)
    async with served(desk, port) as own:
        page = await opened(browser, f"{own}/")
        await expect(page.locator("#link")).to_have_text("live,")
    await expect(page.locator("#link")).to_have_text("not live since")
    async with served(desk, port):
        await expect(page.locator("#link")).to_have_text("live,")
    await page.close()


async def test_only_a_new_state_is_read_aloud_and_not_every_change(browser: Browser, address: str, desk: Desk) -> None:
    page = await opened(browser, f"{address}/")
    await expect(page.locator("#link")).to_have_text("live,")
    desk.state = replace(calm(), changes=[FRESH, *changes()])
    await expect(page.locator("#change-97")).to_be_visible()
    spoken = page.get_by_role("status")
    assert await spoken.text_content() == ""
    desk.state = trouble()
    await expect(spoken).to_have_text("An Envoy rejects what it is sent, and a change of GDS is held.")
    assert await page.locator("[aria-live], [role=status], [role=alert], [role=log]").count() == 1


async def test_it_works_by_keyboard_alone(browser: Browser, address: str, desk: Desk) -> None:
    page = await opened(browser, f"{address}/")
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "Skip to content"
    await expect(page.locator(".skip")).to_be_in_viewport()
    await page.keyboard.press("Enter")
    assert await page.evaluate("document.activeElement.id") == "main"
    for _ in range(12):
        await page.keyboard.press("Shift+Tab")
        if await page.evaluate("document.activeElement.id") == "host":
            break
    outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    await page.keyboard.type("acme.example.com")
    await page.keyboard.press("Enter")
    await expect(page.locator("h1")).to_have_text("acme.example.com")
    assert desk.asked == ["acme.example.com"]


async def test_a_host_is_explained_without_javascript(browser: Browser, address: str) -> None:
    page = await opened(browser, f"{address}/", java_script_enabled=False)
    await page.get_by_label("Explain a host").fill("acme.example.com")
    await page.get_by_role("button", name="Explain").click()
    await expect(page.locator(".chain")).to_contain_text("table-31")
    await page.goto(f"{address}/")
    await expect(page.locator("#link")).to_have_text("as of")
    await expect(page.get_by_role("link", name="Reload")).to_be_visible()
    await expect(page.get_by_role("button", name="Pause")).to_be_hidden()


@pytest.mark.parametrize(
    ("path", "scheme", "size"),
    [
        ("/", "light", DESK),
        ("/", "dark", PHONE),
        ("/explain?host=acme.example.com", "light", PHONE),
        ("/explain?host=acme.example.com", "dark", DESK),
        ("/", "dark", DESK),
        ("/", "light", ZOOMED),
        ("/change?number=96", "light", DESK),
        ("/change?number=96", "dark", PHONE),
        *((f"/{page}", scheme, size) for page in PAGES for scheme, size in (("light", DESK), ("dark", PHONE))),
    ],
)
async def test_axe_finds_nothing_to_complain_of(
    browser: Browser, address: str, desk: Desk, path: str, scheme: str, size: tuple[int, int]
) -> None:
    desk.state = trouble()
    page = await opened(browser, f"{address}{path}", size, color_scheme=scheme)
    results = await Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    await page.close()


@pytest.mark.parametrize("size", [PHONE, ZOOMED], ids=["phone", "zoomed"])
@pytest.mark.parametrize(
    "path", ["/", "/explain?host=acme.example.com", "/change?number=96", *(f"/{page}" for page in PAGES)]
)
async def test_a_phone_and_a_page_at_twice_its_size_show_it_without_scrolling_sideways(
    browser: Browser, address: str, desk: Desk, path: str, size: tuple[int, int]
) -> None:
    for state in (calm(), trouble()):
        desk.state = state
        page = await opened(browser, f"{address}{path}", size)
        assert await page.evaluate("document.documentElement.scrollWidth") <= size[0]
        await page.close()


async def test_no_id_stands_twice_though_revisions_begin_again(browser: Browser, address: str, desk: Desk) -> None:
    again = [replace(row, number=row.number + 100) for row in changes()]
    desk.state = replace(trouble(), changes=[*again, *changes()])
    for path in ("/", "/changes"):
        page = await opened(browser, f"{address}{path}")
        ids = await page.evaluate("[...document.querySelectorAll('[id]')].map((one) => one.id)")
        assert len(ids) == len(set(ids))
        await page.close()


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
async def test_a_screen_reader_has_the_audit_log_as_a_table_of_rows_named_by_their_order(
    browser: Browser, address: str, size: tuple[int, int]
) -> None:
    page = await opened(browser, f"{address}/audit", size)
    heads = await page.get_by_role("table").get_by_role("columnheader").all_text_contents()
    assert heads == ["When", "Order", "Outcome", "Who", "From", "More"]
    names = await page.get_by_role("rowheader").all_text_contents()
    assert names == [one.order for one in acts()]
    row = page.get_by_role("row").nth(2)
    assert await row.get_by_role("cell").count() == len(heads) - 1
    for said in ("denied", "unknown", "203.0.113.7", "the token is another one"):
        await expect(row).to_contain_text(said)
    await page.close()


async def test_the_dark_is_dark_and_the_light_is_light(browser: Browser, address: str) -> None:
    grounds = {}
    for scheme in ("light", "dark"):
        page = await opened(browser, f"{address}/", color_scheme=scheme)
        colour = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        grounds[scheme] = sum(int(part) for part in colour.strip("rgb()").split(","))
    assert grounds["dark"] < 150 < 600 < grounds["light"]


async def test_nothing_moves_for_those_who_want_no_motion(browser: Browser, address: str, desk: Desk) -> None:
    for motion, moves in (("no-preference", "arrive"), ("reduce", "none")):
        desk.state = calm()
        page = await opened(browser, f"{address}/", reduced_motion=motion)
        await expect(page.locator("#link")).to_have_text("live,")
        desk.state = replace(calm(), changes=[FRESH, *changes()])
        await expect(page.locator("#change-97")).to_be_visible()
        assert await page.evaluate("getComputedStyle(document.querySelector('#change-97')).animationName") == moves
        await page.close()


async def test_a_screen_reader_finds_its_way_by_landmarks_and_headings(browser: Browser, address: str) -> None:
    page = await opened(browser, f"{address}/")
    for role in ("banner", "main", "contentinfo", "search"):
        assert await page.get_by_role(role).count() == 1, role  # type: ignore[arg-type]
    names = await page.get_by_role("heading", level=2).all_text_contents()
    assert names == [
        "From GDS to the Envoys",
        "Held changes",
        "Rejected by Envoys",
        "Time to convergence",
        "Last changes",
        "Envoys",
        "Domains by pod",
        "Certificates near their end",
        "Records set aside",
        "Unknown hosts",
        "In figures",
    ]
    assert await page.get_by_role("heading", level=1).count() == 1
    await expect(page.get_by_role("img", name="Time to convergence")).to_have_count(1)
