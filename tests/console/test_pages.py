"""What a person sees and does on each page, in a real browser."""

from __future__ import annotations

import re
import time

import pytest
from playwright.sync_api import Browser, expect

from reconciler.api.types import JobStatus
from reconciler.console.values import Act, Item, Order, Tone
from tests.console.conftest import Person, person
from tests.console.scene import FLEET, READER, Scene, line, shown

PAINT = """() => new Promise(done => new PerformanceObserver(list => {
  const found = list.getEntriesByName('first-contentful-paint')[0];
  if (found) done(found.startTime);
}).observe({type: 'paint', buffered: true}))"""

# Makes the form of a log out one that destroys: what somebody does who knows how pages work.
FORM = """() => {
  const form = document.querySelector("form.who");
  form.action = "/console/do";
  const fields = {act: "trigger", name: "billing", operation: "destroy", sure: "yes"};
  for (const [name, value] of Object.entries(fields)) {
    const field = document.createElement("input");
    field.name = name;
    field.value = value;
    form.append(field);
  }
}"""


def test_only_a_good_token_lets_in(browser: Browser, url: str) -> None:
    """Without a token every page is the login; a wrong one is told; the cookie is no script's."""
    somebody = person(browser, url)
    page = somebody.page
    for path in ("", "timeline", "item/billing", "run/77/shop/api", "nothing"):
        answer = page.goto(f"{url}/{path}")
        assert answer is not None
        assert answer.status == 401
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        assert "billing" not in page.content().replace("item/billing", "")
    page.get_by_label("Token").fill("rct_wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_have_text("this token is not good here")
    somebody.log_in()
    (cookie,) = [c for c in somebody.context.cookies() if c["name"] == "reconciler-console"]
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/console")
    assert page.evaluate("document.cookie") == ""
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    assert [c["name"] for c in somebody.context.cookies()] == []
    somebody.context.close()


def test_a_link_from_elsewhere_leads_in(browser: Browser, url: str) -> None:
    """A link in a chat, which the cookie is not sent along, shows its page to who is logged in."""
    somebody = person(browser, url)
    somebody.enter()
    page = somebody.page
    other = url.replace("127.0.0.1", "localhost")
    page.goto(f"{other}/")
    page.evaluate(f"location.href = '{url}/item/network?x=1'")
    expect(page.get_by_role("heading", name="network")).to_be_visible()
    somebody.context.close()


def test_another_machine_without_tls_works(browser: Browser, url: str, scene: Scene) -> None:
    """Over plain http, where browsers tell less of where a form comes from, forms are taken."""
    somebody = person(browser, url.replace("127.0.0.1", "console.example"))
    somebody.log_in()
    page = somebody.page
    somebody.go("item/dns")
    page.get_by_role("button", name="Suspend", exact=True).click()
    expect(page.locator(".said")).to_have_text("suspend of dns is asked for")
    assert [order.name for _, order in scene.orders] == ["dns"]
    somebody.context.close()


def test_what_needs_a_person_comes_first(ada: Person) -> None:
    """The list begins with what waits for somebody, each with its reason and the next step."""
    assert ada.names() == [item.name for item in FLEET]
    row = ada.page.locator("#rows tbody tr").first
    for text in ("billing", "Waiting", "2 to create, 1 to replace", "Look and approve"):
        expect(row).to_contain_text(text)
    assert ada.page.locator("#counts a").all_inner_texts()[:3] == [
        "All 11",
        "Needs you 3",
        "Invalid 1",
    ]


def test_a_state_and_words_filter_the_list(ada: Person) -> None:
    """A state shows those alone; words are looked for while they are typed."""
    page = ada.page
    page.get_by_role("link", name="Needs you 3").click()
    assert ada.names() == ["billing", "search", "warehouse"]
    page.get_by_role("searchbox").press_sequentially("worker")
    expect(page.locator("#rows tbody tr")).to_have_count(1)
    assert ada.names() == ["warehouse"]
    assert "q=worker" in page.url
    page.reload()
    assert ada.names() == ["warehouse"]
    page.get_by_role("searchbox").fill("nobody")
    expect(page.locator("#rows")).to_contain_text("Nothing fits.")


def test_the_list_stays_fresh(ada: Person, scene: Scene) -> None:
    """What changes is seen without a click, and a word that is being typed stays."""
    page = ada.page
    page.get_by_role("searchbox").fill("shop")
    expect(page.locator("#rows tbody tr")).to_have_count(3)
    scene.becomes("shop/api", state="Ready", tone=Tone.GOOD, reason="as wanted")
    expect(page.locator("#rows")).to_contain_text("as wanted")
    expect(page.get_by_role("searchbox")).to_be_focused()
    expect(page.get_by_role("searchbox")).to_have_value("shop")


def test_a_page_that_nobody_keeps_fresh_says_so(ada: Person) -> None:
    """Above all else it says of when it is, wherever one has scrolled, until it is fresh again."""
    page, stale = ada.page, ada.page.get_by_text("UTC: nobody answers since.")
    page.mouse.wheel(0, 500)
    expect(page.locator("#live")).to_be_hidden()
    ada.context.set_offline(True)
    expect(stale).to_be_in_viewport()
    ada.context.set_offline(False)
    expect(page.locator("#live")).to_be_hidden()
    ada.complaints.clear()


def test_ten_thousand_are_quick(browser: Browser) -> None:
    """Of 10,000 specs the first paint and a search are there within half a second."""
    fleet = [
        Item(
            name=f"team-{n % 50}/s{n:05}",
            stack=f"acme/s{n}/prod",
            state="Ready",
            tone=Tone.GOOD,
            reason="version 3 is at 1f6f30ae45a5, as wanted",
        )
        for n in range(10_000)
    ]
    with shown(Scene(fleet=fleet)) as url:
        somebody = person(browser, url)
        somebody.enter()
        page = somebody.page
        paints, searches = [], []
        # Of several the best: what the machine does beside it is no fault of the page.
        for number in range(5):
            page.goto(f"{url}/?page={number + 1}")
            paints.append(page.evaluate(PAINT))
            begun = time.monotonic()
            page.get_by_role("searchbox").fill(f"s0{number}777")
            expect(page.locator("#rows tbody tr")).to_have_count(1)
            searches.append(time.monotonic() - begun)
        assert somebody.names() == ["team-27/s04777"]
        page.goto(f"{url}/")
        expect(page.locator(".pages")).to_contain_text("1\u201350 of 10,000")
        page.get_by_role("link", name="Later").click()
        expect(page.locator(".pages")).to_contain_text("51\u2013100 of 10,000")
        somebody.context.close()
    assert min(paints) < 500, paints
    assert min(searches) < 0.5, searches


def test_the_timeline_is_a_picture(ada: Person) -> None:
    """Runs are bars that lead to them, what is due is ahead of now, closed windows are shaded."""
    page = ada.page
    ada.go("timeline")
    assert page.locator(".names li").all_inner_texts() == [item.name for item in FLEET]
    expect(page.locator(".lanes .present")).to_have_text("now")
    now = page.locator(".lanes .now").bounding_box()
    bar = page.locator(".lanes .bar.busy").bounding_box()
    assert now is not None
    assert bar is not None
    assert bar["x"] < now["x"] <= bar["x"] + bar["width"] + 2
    marks = [mark.bounding_box() for mark in page.locator(".lanes .due").all()]
    assert len(marks) > 5
    assert all(mark is not None and mark["x"] >= now["x"] for mark in marks)
    assert page.locator(".lanes .due.off").count() >= 1
    shade, row = (
        page.locator(".lanes .closed").first.bounding_box(),
        page.locator(".names li", has_text="mail").bounding_box(),
    )
    assert shade is not None
    assert row is not None
    assert abs(shade["y"] - row["y"]) < 2
    page.get_by_role("link", name="7d").click()
    expect(page.locator(".chip[aria-current]")).to_have_text("7d")
    page.locator(".lanes a").last.click()
    expect(page).to_have_url(re.compile(r"/console/run/\d+/"))


def test_the_graph_shows_what_depends_on_what(ada: Person) -> None:
    """Boxes stand in the order of dependencies, in the colour of their state, and lead on."""
    page = ada.page
    ada.go("graph")

    def left(name: str) -> float:
        box = page.locator(f".graph a[aria-label^='{name}: ']").bounding_box()
        assert box is not None
        return box["x"]

    assert left("network") < left("database") < left("shop/api") < left("shop/web")
    colours = {
        name: page.locator(f"a[aria-label^='{name}:'] rect").evaluate(
            "e => getComputedStyle(e).stroke"
        )
        for name in ("network", "shop/web", "shop/api", "billing", "lost")
    }
    assert len(set(colours.values())) == 4
    assert colours["billing"] == colours["lost"]
    assert page.locator(".edge").count() == 11
    page.get_by_role("link", name="network: Ready").click()
    expect(page.get_by_role("heading", name="network")).to_be_visible()
    page.get_by_role("link", name="Show the graph").click()
    expect(page.get_by_role("heading", name="Around network")).to_be_visible()


def test_a_plan_says_what_differs_and_holds_back(ada: Person, scene: Scene) -> None:
    """The plan has a row for each field, old and new; a person lets many through at once."""
    page = ada.page
    ada.go("plan")
    cells = page.locator(".diff").first.locator("tbody tr").all_inner_texts()
    assert [" ".join(text.split()) for text in cells] == [
        "operationContext.environmentVariables.REGION eu-central-1 us-west-2",
        "operationContext.preRunCommands[0] not set ./warm-cache.sh",
        "operationContext.environmentVariables.DB_PASSWORD (secret) (another secret)",
    ]
    page.get_by_role("button", name="Let these 2 through").click()
    expect(page.locator(".said")).to_have_text("let-through of all is asked for")
    assert scene.orders == [("ada", Order(act=Act.LET_THROUGH, binds="m-17"))]


def test_an_approval_is_for_what_was_shown(ada: Person, scene: Scene) -> None:
    """The button says what is approved, and carries what it was shown for."""
    page = ada.page
    page.get_by_role("link", name="Look and approve: billing").click()
    expect(page.locator("#standing .hint")).to_contain_text("Waiting for 40 minutes · stack")
    expect(page.get_by_role("link", name="preview #41: steps and log")).to_be_visible()
    expect(page.locator(".diff")).to_contain_text("us-west-2")
    page.get_by_role("button", name="Approve: update, as #41 has shown it: 2 to create").click()
    expect(page.locator(".said")).to_be_visible()
    assert scene.orders == [("ada", Order(act=Act.APPROVE, name="billing", binds="key-of-41"))]
    assert scene.noted == [("ada", "approve billing key-of-41", "done")]
    page.locator("input[name=binds]").first.evaluate("e => e.value = 'an older one'")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("alert")).to_contain_text("has changed since you looked")
    assert scene.noted[1] == ("ada", "approve billing an older one", "refused 409")
    # It is a step from there to what is to be looked at.
    expect(page.get_by_role("link", name="Look at the plan")).to_be_visible()
    page.get_by_role("link", name="Look at billing").click()
    expect(page.get_by_role("heading", name="billing")).to_be_visible()
    ada.complaints.clear()


@pytest.mark.parametrize("scripts", [True, False])
def test_runs_are_started_cancelled_and_held(
    browser: Browser,
    url: str,
    scene: Scene,
    scripts: bool,  # noqa: FBT001 - one of the two cases
) -> None:
    """Each button does what it says, with and without scripts; a grave one asks first."""
    somebody = person(browser, url, java_script_enabled=scripts)
    somebody.enter()
    page = somebody.page
    somebody.go("item/shop/api")
    page.get_by_role("button", name="Cancel the run").click()
    expect(page.get_by_label("Operation")).to_have_value("")
    expect(page.get_by_role("option", name="update, as its file says")).to_be_attached()
    page.get_by_label("Operation").select_option("refresh")
    page.get_by_role("button", name="Run now").click()
    page.get_by_role("button", name="Suspend", exact=True).click()
    page.get_by_label("Operation").select_option("destroy")
    page.get_by_role("button", name="Run now").click()
    expect(page.get_by_role("heading", name="Destroy shop/api?")).to_be_visible()
    page.get_by_role("button", name="Destroy it").click()
    expect(page.locator(".said")).to_have_text("trigger of shop/api is asked for")
    somebody.go("")
    for answer in ("Leave them", "Suspend them all"):
        page.get_by_role("button", name="Suspend all").click()
        expect(page.get_by_role("heading", name="Suspend all specs?")).to_be_visible()
        page.get_by_role("button", name=answer).or_(page.get_by_role("link", name=answer)).click()
        expect(page.get_by_role("heading", name="How it stands")).to_be_visible()
    assert [order for _, order in scene.orders] == [
        Order(act=Act.CANCEL, name="shop/api", binds="id-77"),
        Order(act=Act.TRIGGER, name="shop/api", operation="refresh"),
        Order(act=Act.SUSPEND, name="shop/api"),
        Order(act=Act.TRIGGER, name="shop/api", operation="destroy"),
        Order(act=Act.SUSPEND),
    ]
    somebody.context.close()


def test_what_rests_with_all_goes_on_with_all(ada: Person, scene: Scene) -> None:
    """Where all are suspended the next step is where that is ended, and not on the spec's page."""
    page, step = ada.page, "End the suspension of all"
    scene.becomes("legacy", step=step, with_all=True, beneath="Stalled")
    ada.go("?q=legacy")
    expect(page.locator("#rows tbody td[data-label=State]")).to_contain_text("Stalled")
    page.get_by_role("link", name=f"{step}: legacy").click()
    expect(page.get_by_role("button", name=step)).to_be_in_viewport()
    ada.go("item/legacy")
    page.get_by_role("link", name=step).click()
    page.get_by_role("button", name=step).click()
    expect(page.locator(".said")).to_be_visible()
    assert scene.orders == [("ada", Order(act=Act.RESUME))]


def test_a_reader_sees_all_and_changes_nothing(browser: Browser, url: str, scene: Scene) -> None:
    """A token that may only read has no buttons, and a form made by hand is refused and noted."""
    somebody = person(browser, url)
    somebody.enter(READER)
    page = somebody.page
    for path in ("", "plan", "item/billing", "item/shop/api", "run/77/shop/api"):
        somebody.go(path)
        assert page.locator("form[action$='/do']").count() == 0
    page.evaluate(FORM)
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="Not allowed")).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text("role is read")
    assert scene.orders == []
    assert scene.noted == [("ada", "trigger billing destroy", "refused 403")]
    somebody.context.close()


def test_a_run_has_its_steps_and_their_lengths(ada: Person) -> None:
    """A deployment shows who asked for it and why, its steps, and how long each took."""
    ada.go("run/118/shop/web")
    page = ada.page
    expect(page.get_by_role("heading", name="update #118")).to_be_visible()
    expect(page.locator(".facts")).to_contain_text("by ada: the spec had changed")
    steps = [" ".join(text.split()) for text in page.locator(".steps li").all_inner_texts()]
    assert steps == ["Get source succeeded 11 s", "Pulumi operation failed 2:49"]
    widths = [rect.bounding_box() for rect in page.locator(".steps rect").all()]
    assert widths[0] is not None
    assert widths[1] is not None
    assert widths[0]["width"] < widths[1]["width"] / 5


def test_what_runs_is_told_its_usual_time(ada: Person) -> None:
    """For how long it runs and what is usual is on both of its pages; of what ended on none."""
    page = ada.page
    ada.go("item/shop/api")
    told = re.compile(r"^update #77 runs for 25 minutes, usually \d+ minutes$")
    expect(page.locator("#standing .running")).to_have_text(told)
    ada.go("run/77/shop/api")
    expect(page.locator(".facts")).to_contain_text(re.compile(r"Usually takes\s*5:00"))
    ada.go("run/118/shop/web")
    expect(page.locator(".facts")).to_contain_text("Took")
    expect(page.locator(".facts")).not_to_contain_text("Usually")
    ada.go("item/network")
    expect(page.locator("#standing .running")).to_have_count(0)


def test_why_a_run_failed_stands_above_its_log(ada: Person, scene: Scene) -> None:
    """Its failed step and its last error are at the head, and lead to the line, wherever it is."""
    page = ada.page
    scene.log_lines += [line(f"line {n}\n") for n in range(3000)]
    scene.log_lines += [
        line("  \x1b[31merror:\x1b[0m the <b>bucket</b> is not empty\n"),
        line("[1]\n"),
    ]
    ada.go("run/118/shop/web")
    told = "step 'Pulumi operation' failed: error: the <b>bucket</b> is not empty"
    expect(page.locator("#facts .reason")).to_contain_text(told)
    page.get_by_role("link", name="line 3,008 of its log").click()
    expect(page.locator("#L3008")).to_be_in_viewport()
    expect(page.locator("#L3008")).to_contain_text("is not empty")
    ada.go("run/77/shop/api")
    expect(page.locator("#facts .reason")).to_have_count(0)


def test_a_log_is_coloured_and_goes_on(ada: Person, scene: Scene) -> None:
    """Lines come as they are written, in their colours; at the end the page says how it ended."""
    page = ada.page
    ada.go("run/77/shop/api")
    assert page.locator("#log .line").count() == 5
    green = page.locator("#L5 .fg-green").first.evaluate("e => getComputedStyle(e).color")
    red = page.locator("#L7 .fg-red").first.evaluate("e => getComputedStyle(e).color")
    assert green != red
    scene.write(*(f"resource {n} \x1b[32mcreated\x1b[0m\n" for n in range(200)))
    expect(page.locator("#L207")).to_contain_text("resource 199 created")
    expect(page.locator("#L207")).to_be_in_viewport()
    page.get_by_label("Follow").uncheck()
    page.locator("#log").evaluate("e => e.scrollTop = 0")
    scene.write("the last one\n")
    expect(page.locator("#L208")).to_be_attached()
    expect(page.locator("#L208")).not_to_be_in_viewport()
    scene.statuses[77] = JobStatus.SUCCEEDED
    scene.tell()
    expect(page.locator("h1 .badge")).to_have_text("succeeded")
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)


def test_a_log_is_searched(ada: Person, scene: Scene) -> None:
    """A search counts its lines, goes from one to the next and back, over pieces of colours too."""
    scene.log_lines += [line(f"{n}: \x1b[1mneed\x1b[0mle {n % 10 == 0}\n") for n in range(100)]
    page = ada.page
    ada.go("run/118/shop/web")
    page.keyboard.press("/")
    page.keyboard.type("TRUE")
    expect(page.locator("#hits")).to_have_text("1 of 10")
    expect(page.locator("mark.at")).to_have_text("True")
    page.keyboard.press("Enter")
    expect(page.locator("#hits")).to_have_text("2 of 10")
    expect(page.locator("mark.at")).to_be_in_viewport()
    page.keyboard.press("Shift+Enter")
    page.keyboard.press("Shift+Enter")
    expect(page.locator("#hits")).to_have_text("10 of 10")
    page.get_by_label("Search the log").fill("needle")
    expect(page.locator("#hits")).to_have_text("1 of 100")
    page.get_by_label("Search the log").fill("no such word")
    expect(page.locator("#hits")).to_have_text("not found")
    assert page.locator("mark").count() == 0


def test_a_link_leads_to_a_line(ada: Person, scene: Scene) -> None:
    """A line's number is its address, also of one that comes only after the page."""
    scene.log_lines += [line(f"line {n}\n") for n in range(3000)]
    page = ada.page
    ada.go("run/118/shop/web")
    expect(page.locator("#L3007")).to_be_attached()
    page.locator("#L12 .n").click()
    assert page.url.endswith("#L12")
    ada.go("run/118/shop/web#L2900")
    page.reload()
    expect(page.locator("#L2900")).to_be_in_viewport()
    shade = page.locator("#L2900").evaluate("e => getComputedStyle(e).backgroundColor")
    assert shade != page.locator("#L2899").evaluate("e => getComputedStyle(e).backgroundColor")


def test_the_whole_log_is_a_file(ada: Person, scene: Scene) -> None:
    """The log can be had as text, as it was written."""
    scene.log_lines += [line(f"line {n}\n") for n in range(3000)]
    ada.go("run/118/shop/web")
    with ada.page.expect_download() as waiting:
        ada.page.get_by_role("link", name="The whole log as text").click()
    assert waiting.value.suggested_filename == "acme-web-prod-118.log"
    text = waiting.value.path().read_text()
    assert text.startswith("=== Get source\nHEAD is now at")
    assert text.endswith("line 2999\n")
    assert len(text.splitlines()) == 3007


def test_what_is_not_there_is_said(ada: Person) -> None:
    """An unknown name, and an unknown page, are told in words, with a way back."""
    for path, told in (("item/nobody", "there is no spec 'nobody'"), ("nothing", "no such page")):
        ada.go(path)
        expect(ada.page.get_by_role("alert")).to_contain_text(told)
        ada.page.get_by_role("link", name="Back to the overview").click()
    ada.complaints.clear()
