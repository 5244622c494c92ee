"""docs/tutorial.md is followed to its end, with a real Pulumi, and shows what it says."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.docs.shells import ROOT, Shell, Step, fits, steps
from tests.waiting import eventually

PAGE = ROOT / "docs/tutorial.md"
FOLDER = "/tmp/first-hour"


def engine_ended(folder: Path) -> None:
    """Wait until the embedded engine has ended, which it does by itself."""
    address = folder / "state/engine/address.json"
    eventually(lambda: not address.exists(), "the end of the engine")


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    found = Shell(tmp_path, ROOT, {FOLDER: str(tmp_path / "first-hour")})
    yield found
    found.stop()
    with suppress(FileNotFoundError, ProcessLookupError):
        text = (tmp_path / "first-hour/state/engine/address.json").read_bytes()
        os.kill(json.loads(text)["pid"], signal.SIGTERM)
        engine_ended(tmp_path / "first-hour")


@pytest.mark.real
def test_the_tutorial_is_followed(shell: Shell, tmp_path: Path) -> None:
    """Each block works, in its order, and prints what the page shows below it."""
    found = list(steps(PAGE.read_text()))
    assert len(found) > 20
    assert [step.goes_on for step in found].count(True) == 1
    for step in found:
        if step.goes_on:
            shell.start(step.commands, ROOT, "  Ready: ")
            continue
        if step.commands.startswith("cd /\n"):
            shell.stop()
            engine_ended(tmp_path / "first-hour")
        shell.follow(step)
    assert not (tmp_path / "first-hour").exists()


@pytest.mark.parametrize(
    ("shown", "printed", "said"),
    [
        ("a\nb\n", "a\nb\n", True),
        ("a\nb\n", "a\nb\nc\n", False),
        ("a\n…\n", "a\nb\nc\n", True),
        ("…\nc\n", "a\nb\nc\n", True),
        ("…\nb\n", "a\nb\nc\n", False),
        ("…\nb\n…\n", "a\nb\nc\n", True),
        ("b\n…\n", "a\nb\nc\n", False),
        ("a\n…\nc\n", "a\nc\n", True),
        ("a\n…\nc\n", "a\n", False),
        ("web  Ready  1  0123456789ab\n", "web Ready 1 ba9876543210\n", True),
        ("web  Ready  1\n", "web Ready 2\n", False),
        (
            "since 2026-11-28 03:12 UTC, 9 seconds ago",
            "since 2027-01-02 23:59 UTC, 1 minute ago",
            True,
        ),
    ],
)
def test_what_is_shown_is_held_to_what_is_printed(shown: str, printed: str, said: bool) -> None:  # noqa: FBT001 - a table
    """All lines count but where … stands, and all words but times, commits and processes."""
    assert fits(shown, printed) is said


def test_what_looks_may_look_again() -> None:
    """A block that only looks is told from one that does something."""
    assert Step(commands="reconciler status\ncat a\n", shown="").only_looks
    assert not Step(commands="reconciler approve web\n", shown="").only_looks
    assert Step(commands="reconciler run --poll-interval 5s\n", shown="").goes_on
    assert not Step(commands="reconciler run --once\n", shown="").goes_on
