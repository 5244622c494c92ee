"""The console of a real `run`, and of a real engine: what is pressed there happens."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.console.conftest import Person, person
from tests.engine.harness import LIMIT_S, NO_INSTALL, Api, Gate, make_repository
from tests.engine.served import Served, command, served
from tests.waiting import eventually

pytestmark = pytest.mark.real

# A preview and an update of an empty program take seconds, and many times that under load.
LIMIT_MS = 90_000

SPEC = """\
stack: acme/web/{name}
sourceContext: {{git: {{repoUrl: ../repository, branch: main}}}}
operationContext:
  options: {{skipInstallDependencies: true}}
{more}"""


@dataclass
class World:
    """A `run --console` over a directory of specs."""

    root: Path
    url: str
    gate: Gate

    def spec(self, name: str, more: str = "") -> None:
        (self.root / "specs" / f"{name}.yaml").write_text(SPEC.format(name=name, more=more))

    def token(self, name: str = "console") -> str:
        return (self.root / "state" / f"{name}.token").read_text().strip()

    def state(self, name: str) -> str:
        path = self.root / "specs" / f"{name}.status.json"
        return str(json.loads(path.read_bytes()).get("state")) if path.exists() else ""


def waits(gate: Gate, name: str) -> str:
    """Return the part of a spec that writes to its log, and waits at a gate."""
    hello = "printf 'hello \\033[32mgreen\\033[0m <b>bold</b>\\n'"
    return f"  preRunCommands: [{json.dumps(hello)}, {json.dumps(gate.waits(name))}]\n"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A real `run` with its embedded engine, started by the command line."""
    root = tmp_path_factory.mktemp("console")
    (root / "specs").mkdir()
    (root / "gates").mkdir()
    make_repository(root / "repository")
    (root / "specs/broken.yaml").write_text(
        SPEC.format(name="x", more="").replace("acme/web/x", "<b>nothing</b>")
    )
    arguments = ["--data", "state", "--allow-write", "gates", "--console", "127.0.0.1:0"]
    with (root / "run.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "reconciler", "run", "specs", *arguments],
            cwd=root,
            stdout=output,
            stderr=output,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        )

    def found() -> re.Match[str] | None:
        assert process.poll() is None, (root / "run.log").read_text()
        return re.search(r"console: (\S+)/console/\n", (root / "run.log").read_text())

    try:
        said = eventually(found, "the console's address")
        assert said is not None
        yield World(root, f"{said[1]}/console", Gate(root / "gates"))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(LIMIT_S)
        address = root / "state/engine/address.json"
        if address.exists():
            os.kill(json.loads(address.read_bytes())["pid"], signal.SIGTERM)
            eventually(lambda: not address.exists(), "the end of the engine")


@pytest.fixture
def eve(browser: Browser, world: World) -> Iterator[Person]:
    """Somebody with the token of the state directory."""
    found = person(browser, world.url)
    found.context.set_default_timeout(LIMIT_MS)
    found.enter(world.token())
    yield found
    found.context.close()


def sees(somebody: Person, state: str) -> None:
    expect(somebody.page.locator("#standing h1 .badge")).to_have_text(state, timeout=LIMIT_MS)


def test_a_run_is_followed_to_its_end(eve: Person, world: World) -> None:
    """A new spec appears, its log comes as it is written, in colours, and it becomes Ready."""
    page = eve.page
    world.spec("live", waits(world.gate, "live"))
    page.get_by_role("link", name="live", exact=True).click()
    world.gate.begun("live")
    page.get_by_role("link", name="update #1: steps and log").click()
    hello = page.locator("#log .t", has_text="hello green <b>bold</b>")
    expect(hello.locator(".fg-green")).to_have_text("green", timeout=LIMIT_MS)
    expect(page.locator("h1 .badge")).to_have_text("running")
    world.gate.open("live")
    expect(page.locator("h1 .badge")).to_have_text("succeeded", timeout=LIMIT_MS)
    expect(page.locator("#log")).to_contain_text("region")
    page.get_by_role("link", name="live", exact=True).click()
    sees(eve, "Ready")
    eve.go("timeline")
    page.get_by_role("link", name=re.compile("^live: update, version 1: succeeded")).click()
    expect(page.locator(".steps .took").last).to_have_text(re.compile(r"\d"))


def test_an_approval_starts_what_was_shown(eve: Person, world: World) -> None:
    """What waits for a person is seen, approved on its page, and runs; who did it is written."""
    world.spec("vault", "reconcile: {approval: required}\n")
    page = eve.page
    page.get_by_role("link", name="Look and approve: vault").click()
    page.get_by_role("button", name=re.compile("^Approve: update, as #1 has shown it")).click()
    expect(page.locator(".said")).to_contain_text("approved: update")
    sees(eve, "Ready")
    record = (world.root / "state").glob("directories/*/console-audit.jsonl")
    acts = [json.loads(line) for path in record for line in path.read_text().splitlines()]
    mine = [(a["user"], a["action"], a["result"]) for a in acts if "vault" in a["target"]]
    assert mine == [("console", "approve", "asked")]
    assert '"by": "console"' in (world.root / "specs/vault.status.json").read_text()
    # Of a change it is seen what changes, also once its preview is what was asked for last.
    changed = "  environmentVariables: {GREETING: hello}\nreconcile: {approval: required}\n"
    world.spec("vault", changed)
    approve = page.get_by_role("button", name=re.compile("^Approve: update, as #3 has shown it"))
    expect(approve).to_be_visible(timeout=LIMIT_MS)
    row = page.locator("#story .diff tbody tr").first
    greeting = "operationContext.environmentVariables.GREETING"
    expect(row).to_have_text(re.compile(rf"{greeting}\s*not set\s*hello"), timeout=LIMIT_MS)


def test_a_run_is_cancelled_held_and_started_again(eve: Person, world: World) -> None:
    """Cancel ends what runs; a hold keeps it, and ends; a run by hand starts it again."""
    page = eve.page
    world.spec("held", waits(world.gate, "held"))
    page.get_by_role("link", name="held", exact=True).click()
    world.gate.begun("held")
    page.get_by_role("button", name="Cancel the run").click()
    expect(page.locator(".said")).to_have_text(
        "the run of held is cancelled; it ends as soon as it can"
    )
    sees(eve, "Stalled")
    page.get_by_role("button", name="Suspend", exact=True).click()
    sees(eve, "Suspended")
    page.get_by_role("button", name="Resume").click()
    sees(eve, "Stalled")
    world.gate.open("held")
    page.get_by_role("button", name="Run now").click()
    sees(eve, "Ready")


# Where each run and each due time stands on a timeline, and where the present does.
LANES = """() => Object.fromEntries(["now", "bar", "due"].map(name => [
    name, [...document.querySelectorAll(`.lanes .${name}`)]
        .map(e => e.getBoundingClientRect()).map(b => [b.left, b.right])]))"""
# Where each node of a graph stands from the left, by what it is called; and how many edges.
NODES = """() => [Object.fromEntries([...document.querySelectorAll("svg.graph a")]
    .map(e => [e.getAttribute("aria-label"), e.getBoundingClientRect().left])),
    document.querySelectorAll("svg.graph .edge").length]"""
# The rows of the differences of one spec on the plan, as they are read.
DIFFERS = """name => [...document.querySelectorAll("#plan section.card")]
    .filter(card => card.querySelector("h2 a").textContent === name)
    .flatMap(card => [...card.querySelectorAll(".diff tbody tr")])
    .map(row => [...row.children].map(cell => cell.textContent.trim()).join(" "))"""


def test_a_real_fleet_has_its_pictures(eve: Person, world: World) -> None:
    """What is due lies ahead on a timeline; a graph has its order, and a plan its diff.

    What a page shows is some seconds old, so each is opened until it shows all of it.
    """
    world.spec("base")
    world.spec(
        "leaf",
        "  environmentVariables: {REGION: eu}\n"
        "reconcile: {dependsOn: [base]}\n"
        'schedules: [{name: often, cron: "0 * * * *", operation: refresh}]\n',
    )
    eventually(lambda: world.state("leaf") == "Ready", "the dependent one", LIMIT_MS / 1000)

    def shown(path: str, script: str, *about: str) -> Any:
        eve.go(path)
        return eve.page.evaluate(script, *about)

    def is_drawn() -> bool:
        seen = shown("timeline?q=leaf", LANES)
        ((now, _),) = seen["now"]
        return (
            len(seen["bar"]) == 1
            and len(seen["due"]) in {24, 25}
            and all(right <= now + 2 for _, right in seen["bar"])
            and all(left + 2 >= now for left, _ in seen["due"])
        )

    def is_ordered() -> bool:
        nodes, edges = shown("graph?of=leaf", NODES)
        first, then = nodes.get("base: Ready"), nodes.get("leaf: Ready")
        return edges == 1 and None not in {first, then} and first < then

    eventually(is_drawn, "its run, and a due time each hour")
    eventually(is_ordered, "the graph, from left to right")
    world.spec(
        "leaf",
        "  environmentVariables: {REGION: us}\nreconcile: {dependsOn: [base], suspend: true}\n",
    )
    eventually(lambda: world.state("leaf") == "Suspended", "the edit to be seen")
    differs = ["operationContext.environmentVariables.REGION eu us"]
    eventually(lambda: shown("plan", DIFFERS, "leaf") == differs, "what differs")
    expect(eve.page.locator("#plan .hint")).to_contain_text("1 is suspended: 1 differs from what")
    (world.root / "specs/leaf.yaml").unlink()


def test_a_broken_file_is_told_with_its_line(eve: Person, world: World) -> None:
    """A file that is no spec is there, first of all, with what is wrong and where."""
    assert eve.names()[0] == "broken"
    row = eve.page.locator("#rows tbody tr").first
    expect(row).to_contain_text("specs/broken.yaml:1:8: /stack: '<b>nothing</b>' is not")
    row.get_by_role("link", name="broken", exact=True).click()
    expect(eve.page.get_by_role("button", name="Run now")).to_have_count(0)
    assert world.state("broken") == "Invalid"


def test_the_tokens_are_the_owners_alone(browser: Browser, world: World) -> None:
    """Both tokens are files of mode 0600; the second one may look, and no more."""
    for name in ("console", "console-read"):
        assert (world.root / f"state/{name}.token").stat().st_mode & 0o777 == 0o600
    reader = person(browser, world.url)
    reader.enter(world.token("console-read"))
    assert "broken" in reader.names()
    assert reader.page.locator("form[action$='/do']").count() == 0
    reader.context.close()


# ---------------------------------------------------------------- an engine


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("engine")
    (root / "gates").mkdir()
    make_repository(root / "repository")
    with served(root / "data", "--allow-write", str(root / "gates")) as found:
        yield found


def test_an_engine_shows_its_deployments(browser: Browser, engine: Served) -> None:
    """A deployment of the API is seen, followed and cancelled, with the roles of the API."""
    root = engine.data.parent
    token = command(
        "token", "create", "--organization", "acme", "--role", "admin", data=engine.data
    )
    gate, api = Gate(root / "gates"), Api(engine.url, token.strip())
    made = api.create(
        "acme/web/dev",
        root / "repository",
        preRunCommands=["printf 'say \\033[1;31mred\\033[0m\\n'", gate.waits("dev")],
        options=NO_INSTALL,
    )
    gate.begun("dev")
    somebody = person(browser, f"{engine.url}/console")
    page = somebody.page
    somebody.enter(api.token)
    # The address that the API's answer gives leads to the deployment.
    page.goto(made["consoleUrl"])
    expect(page.get_by_role("heading", name="update #1")).to_be_visible()
    expect(page.locator("#log .fg-red.bold")).to_have_text("red", timeout=LIMIT_MS)
    assert page.get_by_role("link", name="Graph").count() == 0
    token = command(
        *("token", "create", "--organization", "acme", "--role", "read", "--user", "rita"),
        data=engine.data,
    )
    reader = person(browser, f"{engine.url}/console")
    reader.enter(token.strip())
    assert reader.names() == ["acme/web/dev"]
    reader.go("run/1/acme/web/dev")
    assert reader.page.get_by_role("button", name="Cancel").count() == 0
    reader.context.close()
    stranger = person(browser, f"{engine.url}/console")
    stranger.enter(engine.api("other").token)
    assert stranger.names() == []
    for path in ("item/acme/web/dev", "run/1/acme/web/dev"):
        stranger.go(path)
        expect(stranger.page.get_by_role("heading", name="Not found")).to_be_visible()
    stranger.context.close()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("h1 .badge")).to_have_text("failed", timeout=LIMIT_MS)
    page.get_by_role("link", name="acme/web/dev", exact=True).click()
    page.get_by_role("button", name="Suspend", exact=True).click()
    expect(page.locator("#standing h1 .badge")).to_have_text("Paused")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#standing h1 .badge")).to_have_text("Failed")
    events = api.get("/api/orgs/acme/auditlogs")["auditLogEvents"]
    done = [(e["event"], e["user"]["name"]) for e in events if e["event"].startswith("console")]
    assert [event for event, _ in done] == ["console resume", "console suspend", "console cancel"]
    somebody.context.close()


def test_an_engine_runs_what_has_settings(browser: Browser, engine: Served) -> None:
    """A stack with deployment settings is run from its page; one without says what it lacks."""
    root, api = engine.data.parent, engine.api()
    today, stack = api.speaking("today"), "acme/web/set"
    git = {"repoUrl": f"file://{root / 'repository'}", "branch": "refs/heads/main"}
    body = {"sourceContext": {"git": git}, "operationContext": {"options": NO_INSTALL}}
    answer = today.session.put(f"{api.url}/api/stacks/{stack}/deployments/settings", json=body)
    assert answer.status_code == 200, answer.text
    somebody = person(browser, f"{engine.url}/console")
    somebody.enter(api.token)
    page = somebody.page
    somebody.go(f"item/{stack}")
    page.get_by_label("Operation").select_option("update")
    page.get_by_role("button", name="Run now").click()
    expect(page.locator(".said")).to_have_text("update #1 of acme/web/set is asked for")
    expect(page.locator("#standing h1 .badge")).to_have_text("Succeeded", timeout=LIMIT_MS)
    fails = "printf '\\033[31merror:\\033[0m no quota\\n'; exit 3"
    api.create("acme/web/bare", root / "repository", options=NO_INSTALL, preRunCommands=[fails])
    somebody.go("item/acme/web/bare")
    assert page.get_by_role("button", name="Run now").count() == 0
    expect(page.locator("#story")).to_contain_text("once it has deployment settings")
    failed = "update #1 failed in its step 'Pre-run command 1'"
    expect(page.locator("#story")).to_contain_text(failed, timeout=LIMIT_MS)
    expect(page.locator("#story .tail")).to_contain_text("error: no quota")
    why = "step 'Pre-run command 1' failed: error: no quota"
    expect(page.locator("#standing .reason")).to_contain_text(f"update #1 failed: {why}")
    somebody.go("?q=quota")
    assert somebody.names() == ["acme/web/bare"]
    somebody.go("run/1/acme/web/bare")
    expect(page.locator("#facts .reason")).to_contain_text(why)
    somebody.context.close()
