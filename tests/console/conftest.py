from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from tests.console.scene import ADMIN, Scene, shown

# The system's own browser; nothing is downloaded, and it calls nobody.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A name of another machine, which a browser trusts less than its own.
    "--host-resolver-rules=MAP console.example 127.0.0.1",
]
LIMIT_MS = 30_000
expect.set_options(timeout=LIMIT_MS)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A real Chromium, one of each worker; each test has a profile of its own in it."""
    with sync_playwright() as playwright:
        found = launch(playwright)
        yield found
        found.close()


def launch(playwright: Playwright) -> Browser:
    """Start the system's Chromium."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    assert program is not None, "`make system` installs chromium"
    return playwright.chromium.launch(executable_path=program, args=FLAGS)


@dataclass
class Person:
    """Somebody who looks at the console: a browser window, and all that went wrong in it."""

    page: Page
    context: BrowserContext
    url: str
    complaints: list[str] = field(default_factory=list)

    def log_in(self, token: str = ADMIN) -> None:
        self.page.goto(f"{self.url}/")
        self.page.get_by_label("Token").fill(token)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_selector("text=Log out")

    def enter(self, token: str = ADMIN) -> None:
        """Be logged in already, as with a token of an hour ago."""
        self.context.add_cookies(
            [
                {
                    "name": "reconciler-console",
                    "value": token,
                    "url": f"{self.url}/",
                    "httpOnly": True,
                    "sameSite": "Strict",
                }
            ]
        )
        self.go("")

    def go(self, path: str) -> None:
        self.page.goto(f"{self.url}/{path}")

    def names(self) -> list[str]:
        """Return the names in the list, as they stand on the screen."""
        return self.page.locator("#rows tbody th a").all_inner_texts()


def person(browser: Browser, url: str, **options: object) -> Person:
    """Open a window, which takes down what the browser complains of."""
    context = browser.new_context(**options)  # type: ignore[arg-type]
    context.set_default_timeout(LIMIT_MS)
    page = context.new_page()
    found = Person(page=page, context=context, url=url)
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    page.on(
        "console",
        lambda said: found.complaints.append(said.text) if said.type == "error" else None,
    )
    return found


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def url(scene: Scene) -> Iterator[str]:
    with shown(scene) as address:
        yield address


@pytest.fixture
def ada(browser: Browser, url: str) -> Iterator[Person]:
    """Somebody with an admin's token, logged in; the browser must have nothing to complain of."""
    found = person(browser, url, viewport={"width": 1200, "height": 800})
    found.enter()
    yield found
    found.context.close()
    assert found.complaints == []
