"""Who uses the pages, and how: by keys alone, on a telephone, in the dark, by a reader's voice."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from reconciler.console.values import Act, Tone
from tests.console.conftest import Person, person
from tests.console.scene import Scene, item, line, shown

ITEMS = ("item/billing", "item/shop/api", "item/shop/web")
PAGES = ("", "timeline", "graph", "plan", *ITEMS, "run/118/shop/web")
# The rules of WCAG 2.2, A and AA, and what is good practice beside them.
AXE = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_in_the_way_of_anybody(browser: Browser, url: str, scheme: str) -> None:
    """No page breaks a rule of accessibility that a program can check, in light or in the dark."""
    somebody = person(browser, url, color_scheme=scheme)
    page, axe, found = somebody.page, Axe(), {}
    # In the dark nothing differs but the colours.
    rules = (
        AXE if scheme == "light" else {"runOnly": {"type": "rule", "values": ["color-contrast"]}}
    )
    page.goto(f"{url}/")
    found["login"] = axe.run(page, options=rules).response["violations"]
    somebody.enter()
    for path in PAGES:
        somebody.go(path)
        found[path] = axe.run(page, options=rules).response["violations"]
    told = {
        path: [(v["id"], [node["html"][:200] for node in v["nodes"]][:3]) for v in violations]
        for path, violations in found.items()
        if violations
    }
    assert told == {}
    somebody.context.close()


def test_the_dark_is_dark(browser: Browser, url: str) -> None:
    """Who has asked for dark pages gets them: light letters on a dark ground."""
    grounds = {}
    for scheme in ("light", "dark"):
        somebody = person(browser, url, color_scheme=scheme)
        somebody.enter()
        grounds[scheme] = somebody.page.evaluate(
            "(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))"
            ".map(c => c.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0))"
        )
        somebody.context.close()
    light, dark = grounds["light"], grounds["dark"]
    assert light[0] > 600
    assert light[1] < 200
    assert dark[0] < 150
    assert dark[1] > 600


def test_a_telephone_is_wide_enough(browser: Browser, url: str, scene: Scene) -> None:
    """At the width of a telephone no page scrolls sideways, and everything is there."""
    scene.becomes("billing", reason="a" * 300)
    scene.log_lines.append(line("x" * 5000 + "\n"))
    somebody = person(browser, url, viewport={"width": 360, "height": 740}, has_touch=True)
    somebody.enter()
    page = somebody.page
    for path in PAGES:
        somebody.go(path)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 360, path
    somebody.go("timeline")
    expect(page.locator(".lanes .now")).to_be_in_viewport()
    somebody.go("")
    # What needs a person is marked along all of it, not beside its name alone.
    marks = page.locator("#rows tbody tr.person").first.evaluate(
        "e => [e, e.children[0]].map(each => getComputedStyle(each).boxShadow)"
    )
    assert [mark == "none" for mark in marks] == [False, True]
    row = page.locator("#rows tbody tr").nth(3)
    for text in ("shop/web", "Failed", "Read its log", "update #118"):
        expect(row).to_contain_text(text)
    row.get_by_role("link", name="shop/web", exact=True).tap()
    expect(page.get_by_role("button", name="Run now")).to_be_in_viewport()
    somebody.context.close()


def test_a_finger_lets_go_of_a_log(browser: Browser, url: str, scene: Scene) -> None:
    """On a telephone a log that is moved up by a finger stays there when more lines come."""
    somebody = person(
        browser, url, viewport={"width": 390, "height": 740}, has_touch=True, is_mobile=True
    )
    somebody.enter()
    page = somebody.page
    somebody.go("run/77/shop/api")
    scene.write(*(f"resource {n} created\n" for n in range(200)))
    expect(page.locator("#L207")).to_be_attached()
    expect(page.get_by_label("Follow")).to_be_checked()
    page.locator("#log").scroll_into_view_if_needed()
    finger = somebody.context.new_cdp_session(page)
    for number, kind in enumerate(["touchStart", *["touchMove"] * 10, "touchEnd"]):
        points = [] if kind == "touchEnd" else [{"x": 200, "y": 300 + 20 * number}]
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    expect(page.get_by_label("Follow")).not_to_be_checked()
    scene.write("the last one\n")
    expect(page.locator("#L208")).to_be_attached()
    left = page.locator("#log").evaluate("e => e.scrollHeight - e.scrollTop - e.clientHeight")
    assert left > 100
    somebody.context.close()


def test_keys_are_enough(ada: Person, scene: Scene) -> None:
    """Everything is reached by keys: the search, a spec, an approval; where one is, is seen."""
    page = ada.page

    def press(key: str, until: str, most: int = 40) -> None:
        for _ in range(most):
            page.keyboard.press(key)
            name = page.evaluate(
                "document.activeElement.getAttribute('aria-label')"
                " || document.activeElement.textContent"
            )
            if until in name:
                return
        raise AssertionError(f"{until!r} is not reached by {key}")

    press("Tab", "Skip to the content", 1)
    expect(page.get_by_text("Skip to the content")).to_be_in_viewport()
    page.keyboard.press("Enter")
    page.keyboard.press("/")
    page.keyboard.type("approval")
    expect(page.locator("#rows tbody tr")).to_have_count(1)
    press("Tab", "billing")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="billing")).to_be_visible()
    press("Tab", "Approve: update")
    page.keyboard.press("Enter")
    expect(page.locator(".said")).to_be_visible()
    assert [order.act for _, order in scene.orders] == [Act.APPROVE]


HOSTILE = (
    "<script>window.owned=1</script>",
    "<img src=x onerror=window.owned=1>",
    '"><svg onload=window.owned=1>',
    "javascript:window.owned=1",
    "{{ 7*7 }}{% raw %}",
    "</textarea></title></style><iframe src=/console/>",
    "\u202egnp.exe",
    "nul\0bell\x07\x1b]8;;javascript:window.owned=1\x1b\\click\x1b]8;;\x1b\\",
    "' onmouseover='window.owned=1",
    "&lt;b&gt;",
)


def test_hostile_texts_are_texts(browser: Browser) -> None:
    """HTML, links, templates and marks of direction in names, reasons and logs are only shown."""
    fleet = tuple(
        item(
            f"n{n}/{text}",
            text,
            Tone.PERSON,
            text,
            stack=text,
            code="Approval",
            version=41,
            operation=text,
            step=text,
        )
        for n, text in enumerate(HOSTILE)
    )
    scene = Scene(
        fleet=fleet,
        depends={fleet[0].name: tuple(each.name for each in fleet[1:])},
        log_lines=[line(f"{text}\n") for text in HOSTILE] + [line("", text) for text in HOSTILE],
    )
    with shown(scene) as url:
        somebody = person(browser, url)
        somebody.enter()
        page = somebody.page
        pages = ["", "?q=%3Cscript%3E", "timeline", "graph", "plan", "?state=%22%3E%3Cscript%3E"]
        pages += [f"timeline?span=%3Cb%3E&q={HOSTILE[1]}", f"graph?of={HOSTILE[0]}"]
        for path in pages:
            somebody.go(path)
            _only_ours(somebody)
        somebody.go("")
        shown_names = page.locator("#rows tbody th a").all_inner_texts()
        assert shown_names[0] == "n0/<script>window.owned=1</script>"
        assert shown_names[6] == "n6/⟨U+202E⟩gnp.exe"
        assert "nul␀bell␇␛" in shown_names[7]
        for number in (0, 7):
            somebody.go("")
            page.locator("#rows tbody th a").nth(number).click()
            expect(page.locator("#story")).to_be_visible()
            _only_ours(somebody)
        page.locator("a[href*='/run/41/']").first.click()
        expect(page.locator("#log .line")).to_have_count(len(HOSTILE))
        _only_ours(somebody)
        texts = page.locator("#log .t").all_inner_texts()
        assert texts[0] == HOSTILE[0]
        assert texts[7] == "nul␀bell␇click"
        assert page.locator("#log a:not(.n)").count() == 0
        # The same lines as they come to a page that is open.
        scene.statuses[41] = scene.statuses[77]
        page.reload()
        before = page.locator("#log > *").count()
        scene.write(*(f"{text}\n" for text in HOSTILE))
        expect(page.locator("#log > *")).to_have_count(before + len(HOSTILE))
        _only_ours(somebody)
        assert page.locator("#log .t").last.inner_text() == "&lt;b&gt;"
        somebody.context.close()


def _only_ours(somebody: Person) -> None:
    """The page has our one script, nothing has run, and nothing is there that could."""
    page = somebody.page
    assert page.evaluate("window.owned") is None
    found = page.evaluate(
        """() => ({
          scripts: [...document.scripts].map(s => new URL(s.src).pathname),
          frames: document.querySelectorAll("iframe, object, embed, img, svg[onload]").length,
          acts: [...document.querySelectorAll("*")].flatMap(e => e.getAttributeNames())
            .filter(n => n.startsWith("on") || n === "style"),
          links: [...document.links].map(a => a.protocol).filter(p => !p.startsWith("http")),
        })"""
    )
    ours = {"scripts": ["/console/static/console.js"], "frames": 0, "acts": [], "links": []}
    assert found == ours, page.url
    assert somebody.complaints == []
