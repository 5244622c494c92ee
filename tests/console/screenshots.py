"""Takes the pictures of the console that the documents show: `make screenshots`."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import sync_playwright

from reconciler.console.values import Tone
from tests.console.conftest import launch, person
from tests.console.scene import Scene, shown

DOCS = Path(__file__).resolve().parents[2] / "docs"

# Small enough for a repository, and large enough to be read.
SIZE = {"width": 1100, "height": 640}
PICTURES = {
    "console-overview": ("", "light"),
    "console-timeline": ("timeline", "light"),
    "console-run": ("run/77/shop/api", "dark"),
}


def take() -> None:
    """Open each page, and write its picture."""
    scene = Scene()
    assert any(item.tone is Tone.PERSON for item in scene.fleet)
    with shown(scene) as url, sync_playwright() as playwright:
        browser = launch(playwright)
        for name, (path, scheme) in PICTURES.items():
            somebody = person(browser, url, viewport=SIZE, color_scheme=scheme)
            somebody.enter()
            somebody.go(path)
            somebody.page.screenshot(path=DOCS / f"{name}.png", animations="disabled")
            somebody.context.close()
            print(f"docs/{name}.png")
        browser.close()


if __name__ == "__main__":
    take()
