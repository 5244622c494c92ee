"""What each earlier release has left is taken over, and what a newer one left is let alone."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import NewerReleaseError, NotDurableError
from reconciler.model import HandRequest, ReasonCode, RequestKind, RunEnd, State
from reconciler.planning.gates import approval_key
from tests.upgrade.scene import SECRET, Scene, copied

RELEASES = [path for path in sorted(Path(__file__).parent.iterdir()) if (path / "state").is_dir()]
MINUTES = timedelta(minutes=1)
LIMIT_S = 60


@pytest.fixture(params=RELEASES, ids=lambda path: path.name)
def golden(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.param
    return folder


@pytest.fixture
def scene(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """What a release has left, on the day it did."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(*SECRET)
    return copied(golden, tmp_path)


def without_request(scene: Scene) -> None:
    (path,) = scene.state.requests.iterdir()
    path.unlink()


def test_nothing_starts_but_what_a_person_has_asked_for(scene: Scene, golden: Path) -> None:
    """The request by hand that the old daemon had not seen is carried out, and nothing else."""
    before = scene.creates()
    scene.play(4 * MINUTES)
    assert scene.creates()[len(before) :] == [("good", "update")]
    good = scene.status("good")
    assert good.run is not None
    owner = (golden / "state/owner").read_text()
    assert good.run.marker.startswith(f"RECONCILER_RUN_{owner}")
    assert (good.run.cause.kind, good.run.cause.by) == ("trigger", "ada")
    assert list(scene.root.rglob("*.corrupt-*")) == []


def test_everything_stands_as_before(scene: Scene) -> None:
    """States, slots, approvals, retries, holds and removals are those of before."""
    names = ("asking", "failing", "gone", "good", "held", "nightly", "running")
    before = {name: scene.status(name) for name in names}
    without_request(scene)
    scene.play(2 * MINUTES)
    after = {name: scene.status(name) for name in names}
    kept = ("state", "attempt", "last", "approval", "failures", "next_attempt", "removal")
    more = ("schedules", "latest", "last_version", "applied", "last_good_spec", "handled")
    for name in names:
        for key in (*kept, *more):
            assert getattr(after[name], key) == getattr(before[name], key), (name, key)
    states = {name: (str(s.state), s.reason and str(s.reason.code)) for name, s in after.items()}
    assert states == {
        "asking": (State.WAITING, ReasonCode.APPROVAL),
        "failing": (State.FAILED, before["failing"].reason and before["failing"].reason.code),
        "gone": (State.WAITING, before["gone"].reason and before["gone"].reason.code),
        "good": (State.READY, ReasonCode.UP_TO_DATE),
        "held": (State.SUSPENDED, before["held"].reason and before["held"].reason.code),
        "nightly": (State.READY, ReasonCode.UP_TO_DATE),
        "running": (State.PROGRESSING, ReasonCode.RUNNING),
    }
    look, once = after["nightly"].schedules
    assert (look.outcome, once.outcome) == ("succeeded", "")
    assert after["running"].run == before["running"].run


def test_what_was_begun_goes_on(scene: Scene) -> None:
    """A run ends as ours, a retry comes at its time, and a removed stack is destroyed once."""
    without_request(scene)
    before, due = scene.creates(), scene.status("failing").next_attempt
    removed = scene.status("gone").removal
    assert due is not None
    assert removed is not None
    scene.play(due - scene.clock.now() - MINUTES)
    assert scene.creates()[len(before) :] == [("gone", "destroy")]
    created = scene.api.records[next(s for s in scene.api.records if s.stack == "gone")][1]
    assert created.shown.created >= removed.since + 10 * MINUTES
    scene.play(3 * MINUTES)
    assert scene.creates()[len(before) :] == [("gone", "destroy"), ("failing", "update")]
    scene.play(60 * MINUTES)
    running = scene.status("running")
    assert running.last is not None
    assert (running.state, running.last.end) == (State.READY, RunEnd.SUCCEEDED)


def test_an_approval_is_for_what_was_asked(scene: Scene) -> None:
    """What waits for a person is approved by the same words, and deployed then."""
    without_request(scene)
    before, asked = scene.creates(), scene.status("asking").approval
    assert asked is not None
    request = HandRequest(
        id="a",
        kind=RequestKind.APPROVE,
        name="asking",
        by="ben",
        at=scene.clock.now(),
        binds=approval_key(asked),
    )
    scene.place().requests.put(request)
    scene.play(MINUTES)
    assert scene.creates()[len(before) :] == [("asking", "update")]


# ---------------------------------------------------------------- from a newer release


def newer_form(body: dict[str, Any]) -> None:
    body["version"] += 1


def newer_key(body: dict[str, Any]) -> None:
    body["weather"] = "fine"


def newer_word(body: dict[str, Any]) -> None:
    body["state"] = "Pondering"


def newer_spec(body: dict[str, Any]) -> None:
    body["lastGoodSpec"] = body["lastGoodSpec"].replace('"onDelete"', '"weather":"fine","onDelete"')


def changed(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Have a status file be of a newer release, whole and as it has written it."""
    body = json.loads(path.read_bytes())
    del body["checksum"]
    change(body)
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    body["checksum"] = hashlib.sha256(text.encode()).hexdigest()[:32]
    path.write_text(json.dumps(body, indent=2, ensure_ascii=False) + "\n")


def everything(root: Path) -> Mapping[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.name not in {"instance.json", "lock"}
    }


@pytest.mark.parametrize("change", [newer_form, newer_key, newer_word, newer_spec])
@pytest.mark.parametrize("where", ["specs", "copies"])
def test_a_newer_releases_status_is_let_alone(
    scene: Scene, change: Callable[[dict[str, Any]], None], where: str
) -> None:
    """Nothing is started, no file is touched, and the error says which file and what to do."""
    folder = scene.specs if where == "specs" else scene.state.statuses
    path = folder / "gone.status.json"
    changed(path, change)
    before, creates = everything(scene.root), scene.creates()
    with pytest.raises(NewerReleaseError, match=r"written by a newer release .* install that"):
        scene.play(MINUTES)
    assert scene.creates() == creates
    assert everything(scene.root) == before


@pytest.mark.real
def test_the_command_says_so(scene: Scene) -> None:
    """`run` ends at once, with the file's path, and an older release's state as it was."""
    path = scene.specs / "nightly.status.json"
    changed(path, newer_key)
    before = everything(scene.root)
    done = subprocess.run(
        [sys.executable, "-m", "reconciler", "run", "--once", "specs", "--data", "state"],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "specs/nightly.status.json was written by a newer release" in done.stderr
    assert "Status has no weather" in done.stderr
    assert everything(scene.root) == before


def test_a_newer_releases_holds_hold_all(scene: Scene) -> None:
    """Holds that cannot be read are not taken for none: nothing starts, and the file stays."""
    path = scene.state.folder / "holds.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "moods": []}))
    before, content = scene.creates(), path.read_bytes()
    scene.play(MINUTES)
    assert scene.creates() == before
    assert path.read_bytes() == content
    told = scene.status("good").reason
    assert told is not None
    assert "holds.json cannot be read" in told.message
    assert "newer release" in told.message
    with pytest.raises(NotDurableError, match=r"holds\.json cannot be read"):
        scene.place().holds.resume("held")


def test_the_day_is_that_of_the_release(scene: Scene, golden: Path) -> None:
    """The scene begins when the old daemon ended."""
    kept = json.loads((golden / "api.json").read_bytes())
    assert scene.clock.now() == datetime.fromisoformat(kept["taken"])
