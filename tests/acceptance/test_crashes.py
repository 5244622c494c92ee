"""Crashes of the real processes: nothing is doubled, nothing is lost, nothing is left."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from pathlib import Path

import jsonschema
import pytest

from tests.acceptance.conftest import ROOT, Place, eventually

pytestmark = pytest.mark.real

NAMES = ("one", "two", "three")


def prepare(place: Place) -> None:
    place.program()
    for name in NAMES:
        place.spec(name)


def test_a_killed_reconciler_changes_nothing(place: Place) -> None:
    """Killed at ten random moments of one pass, it ends as an undisturbed pass does."""
    prepare(place)
    dice = random.Random(20261124)
    kills = 0
    for _ in range(10):
        running = place.start("run", "specs", "--once", *place.run_arguments())
        try:
            running.wait(dice.uniform(0.25, 1.6))
        except subprocess.TimeoutExpired:
            running.kill()
            kills += 1
        running.communicate()
    assert kills >= 3, "the kills came too late to disturb anything"
    place.once()
    schema = json.loads((ROOT / "schemas/status.schema.json").read_bytes())
    for name in NAMES:
        assert place.status(name)["state"] == "Ready"
        assert place.status(name)["deployment"]["version"] == 1, name
        jsonschema.Draft202012Validator(schema).validate(place.status_file(name))
        assert (place.made / f"{name}.txt").read_text() == "eu"


class Served:
    """An engine of its own, as `engine serve` runs it, and its restarts."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.data = place.root / "engine"
        self.port = "0"
        self.process = self.start()
        token = place.reconciler(
            "engine", "token", "create", "--organization", "acme", "--data", str(self.data)
        )
        assert token.returncode == 0, token.stderr
        place.environment |= {
            "RECONCILER_API_URL": f"http://127.0.0.1:{self.port}",
            "PULUMI_ACCESS_TOKEN": token.stdout.strip(),
        }

    def start(self) -> subprocess.Popen[str]:
        arguments = ("--data", str(self.data), "--allow-write", str(self.place.made))
        process = self.place.start(
            "engine", "serve", "--listen", f"127.0.0.1:{self.port}", *arguments
        )
        assert process.stdout is not None
        line = ""
        while not line.startswith("listening on http://127.0.0.1:"):
            line = process.stdout.readline()
            assert line, "the engine ended before it listened"
        self.port = line.strip().rsplit(":", 1)[1]
        return process

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=30)


def test_a_killed_engine_is_noticed_and_a_person_goes_on(place: Place) -> None:
    """Killed in mid-operation and restarted: failed, unlocked, nothing left, Stalled, triggered."""
    place.program(delay="30")
    place.spec("one")
    engine = Served(place)
    running = place.start("run", "specs", "--settle", "1s", *place.run_arguments())
    eventually(lambda: any("resource-localfile" in p for p in place.processes()), "the provider")
    eventually(lambda: bool(place.locks()), "the lock")
    engine.kill()
    engine.process = engine.start()
    eventually(lambda: place.status("one")["state"] == "Stalled", "the end of the run")
    message = place.status("one")["message"]
    assert "cut off while Pulumi ran" in message
    assert "reconciler logs one" in message
    assert place.status("one")["deployment"]["status"] == "interrupted"
    assert place.locks() == []
    assert not any("pulumi up" in p or "localfile" in p for p in place.processes())
    place.program()
    # The new commit is another thing that is wanted; that alone may go on by itself.
    eventually(lambda: place.status("one")["state"] != "Progressing", "rest")
    running.terminate()
    running.communicate(timeout=10)
    done = place.by_hand("trigger", "one")
    assert done.returncode == 0, done.stdout + done.stderr
    assert place.status("one")["state"] == "Ready"
    assert (place.made / "one.txt").read_text() == "eu"
    engine.stop()


@pytest.mark.parametrize("dialect", ["today", "preview"])
def test_both_dialects_against_a_served_engine(place: Place, dialect: str) -> None:
    """The same job is done in either form of the API, with a token of one organization."""
    place.program()
    place.spec("one")
    engine = Served(place)
    place.flags = ["--dialect", dialect]
    place.once()
    assert (place.made / "one.txt").read_text() == "eu"
    place.commit("another")
    place.once()
    assert place.status("one")["deployment"]["version"] == 2
    place.environment["PULUMI_ACCESS_TOKEN"] = "wrong"
    place.commit("a third")
    started = time.monotonic()
    assert "AccessDenied" in place.once(1) or "401" in place.status("one")["message"]
    assert time.monotonic() - started < 30
    engine.stop()


def test_a_lost_checkout_is_no_loss(place: Place, tmp_path: Path) -> None:
    """Status files that are gone come back from their copies; nothing runs again."""
    prepare(place)
    place.once()
    for status in place.specs.glob("*.status.json"):
        status.unlink()
    assert "nothing to do: 3 of 3" in place.once()
    assert tmp_path.exists()
    assert all(place.status(name)["deployment"]["version"] == 1 for name in NAMES)
