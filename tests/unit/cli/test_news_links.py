"""Where the links in notifications lead."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.cli.news_links import links
from reconciler.model import News, NewsKind
from tests.factories import NOW

API = "http://127.0.0.1:40059/acme/web/dev/deployments/4"
NEWS = News(
    id="1",
    kind=NewsKind.FAILED,
    name="team a/web",
    stack="acme/web/dev",
    at=NOW,
    state="Failed",
    reason="Failed",
    message="it failed",
    version=4,
    url=API,
)


def link(
    news: News = NEWS, *, console: str | None = None, url: str = "", remote: bool = False
) -> str:
    options = argparse.Namespace(console=console, console_certificate=None)
    return links(options, url, remote=remote)(news)


@pytest.mark.parametrize(
    ("console", "url", "remote", "expected"),
    [
        (None, "", False, ""),
        (None, "", True, API),
        ("127.0.0.1:8090", "", False, "http://127.0.0.1:8090/console/run/4/team%20a/web"),
        ("[::1]:8090", "", True, "http://[::1]:8090/console/run/4/team%20a/web"),
        ("0.0.0.0:8090", "", False, ""),
        ("[::]:8090", "", True, API),
        ("127.0.0.1:0", "", False, ""),
        (
            "127.0.0.1:8090",
            "https://d.example",
            True,
            "https://d.example/console/run/4/team%20a/web",
        ),
        (None, "https://d.example/x", False, "https://d.example/x/console/run/4/team%20a/web"),
    ],
)
def test_a_link_is_one_that_can_be_opened(
    console: str | None, url: str, *, remote: bool, expected: str
) -> None:
    """The console's page of the run, or the API's; none where it would be dead."""
    assert link(console=console, url=url, remote=remote) == expected


def test_an_approval_leads_to_where_it_is_given() -> None:
    """The page of the spec has the button, that of the preview has not; a mass is in the plan."""
    url = "https://d.example"
    asked = replace(NEWS, kind=NewsKind.APPROVAL)
    assert link(asked, url=url) == f"{url}/console/item/team%20a/web"
    assert link(replace(asked, name="", version=0), url=url) == f"{url}/console/plan"
    assert link(replace(NEWS, version=0), url=url) == f"{url}/console/item/team%20a/web"


def test_https_where_the_console_has_a_certificate() -> None:
    """Its address is what a browser has to be given."""
    options = argparse.Namespace(console="127.0.0.1:8090", console_certificate=Path("c.pem"))
    assert links(options, "", remote=False)(NEWS).startswith("https://127.0.0.1:8090/console/")
