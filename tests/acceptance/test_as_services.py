"""The daemon and the engine as systemd's services: what they say, and when they fall silent."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import Place, eventually
from tests.fakes.service_manager import Manager, Unit

pytestmark = pytest.mark.real

WATCHDOG_S = 0.8
# A loaded machine may hold a whole process up for a while; what hangs does so for longer.
SILENCE_S = 5 * WATCHDOG_S


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    found = Manager(tmp_path / "notify")
    yield found
    found.close()


def silent(manager: Manager) -> bool:
    """Whether nothing is heard for a while."""
    manager.drain()
    return not manager.listen(SILENCE_S)


def test_the_daemon_as_a_service(place: Place, manager: Manager) -> None:
    """It is ready when it watches, tells how specs stand, beats while passes go on, and ends."""
    (place.specs / "held.yaml").write_text(
        "stack: acme/web/held\nsourceContext: {git: {repoUrl: ../repository, branch: main}}\n"
        "reconcile: {suspend: true}\n"
    )
    command = place.command("run", str(place.specs), *place.run_arguments())
    unit = Unit(command, manager, place.root / "log", place.full_environment(), WATCHDOG_S)
    try:
        manager.hears("READY=1")
        manager.hears("STATUS=1 specs: 1 Suspended")
        manager.drain()
        manager.wait_for(lambda heard: heard.count("WATCHDOG=1") >= 3, "three beats")
        (place.specs / "more.yaml").write_text("stack: nonsense\n")
        manager.hears("STATUS=2 specs: 1 Invalid, 1 Suspended")
    finally:
        code = unit.end()
    manager.hears("STOPPING=1")
    assert code == 0, unit.said()


def test_a_loop_that_hangs_falls_silent(place: Place, manager: Manager) -> None:
    """While a pass does not get on there are no beats, and afterwards there are again."""
    place.program()
    marker, release = place.root / "asked", place.root / "release"
    os.mkfifo(release)
    config = place.root / "config.yaml"
    config.write_text(
        "secrets: {commands: {slow: [/bin/sh, -c, "
        f"'echo > {marker}; read line < {release}; echo value']}}}}\n"
    )
    arguments = [str(place.specs), *place.run_arguments(), "--config", str(config)]
    command = place.command("run", *arguments)
    unit = Unit(command, manager, place.root / "log", place.full_environment(), WATCHDOG_S)
    try:
        manager.wait_for(lambda heard: heard.count("WATCHDOG=1") >= 2, "two beats")
        path = place.spec("web")
        text = path.read_text().replace("FAILS: ''", "FAILS: {secret: {fromCommand: slow}}")
        path.write_text(text)
        eventually(marker.exists, "the command is asked")
        assert silent(manager), manager.heard
        release.write_text("go on\n")
        manager.hears("WATCHDOG=1")
    finally:
        unit.end()


def test_the_engine_as_a_service(tmp_path: Path, manager: Manager) -> None:
    """It is ready when it answers, says where, beats, and ends; a stopped process beats no more."""
    command = [sys.executable, "-m", "reconciler", "engine", "serve", "--listen", "127.0.0.1:0"]
    command += ["--data", str(tmp_path / "engine")]
    unit = Unit(command, manager, tmp_path / "log", dict(os.environ), WATCHDOG_S)
    try:
        manager.hears("READY=1")
        manager.hears("STATUS=listening on http://127.0.0.1:")
        manager.drain()
        manager.wait_for(lambda heard: heard.count("WATCHDOG=1") >= 3, "three beats")
        begun = time.monotonic()
        manager.drain()
        manager.wait_for(lambda heard: heard.count("WATCHDOG=1") >= 3, "three beats")
        # Four an interval: no more is asked for.
        assert time.monotonic() - begun > WATCHDOG_S / 2
    finally:
        code = unit.end()
    manager.hears("STOPPING=1")
    assert code == 0, unit.said()


def test_what_is_started_cannot_speak_for_a_service(place: Place, manager: Manager) -> None:
    """A secret's command finds no socket in its environment."""
    place.program()
    seen = place.root / "seen"
    config = place.root / "config.yaml"
    config.write_text(
        f"secrets: {{commands: {{look: [/bin/sh, -c, 'env > {seen}; echo value']}}}}\n"
    )
    path = place.spec("web")
    path.write_text(
        path.read_text().replace("FAILS: ''", "FAILS: {secret: {fromCommand: look}}")
        + "reconcile: {dryRun: true}\n"
    )
    arguments = [str(place.specs), *place.run_arguments(), "--config", str(config)]
    command = place.command("run", *arguments)
    unit = Unit(command, manager, place.root / "log", place.full_environment(), WATCHDOG_S)
    try:
        manager.hears("READY=1")
        eventually(lambda: seen.exists() and "PATH=" in seen.read_text(), "the command has run")
        assert "NOTIFY_SOCKET" in unit.environment()
        assert "NOTIFY_SOCKET" not in seen.read_text()
        assert "WATCHDOG" not in seen.read_text()
    finally:
        unit.end()
