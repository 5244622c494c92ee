"""Keeps what this release leaves behind, for the tests of those to come.

`python -m tests.upgrade.make` writes tests/upgrade/VERSION: specs with their status files, the
state directory, and what the API was asked for. It is made once, of a release, and never again.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reconciler import __version__
from reconciler.cli import parser
from reconciler.model import HandRequest, Hold, RequestKind
from tests.fakes.world import SimClock
from tests.upgrade.scene import SECRET, Scene

HERE = Path(__file__).resolve().parent
BEGIN = datetime(2026, 12, 1, 2, 50, tzinfo=UTC)
SPEC = """\
stack: acme/app/{name}
sourceContext:
  git:
    repoUrl: https://git.example.com/app.git
    commit: 0123456789abcdef0123456789abcdef01234567
operationContext:
  environmentVariables:
    REGION: eu
    PASSWORD: {{secret: {{fromEnv: {secret}}}}}
"""
MORE = {
    "asking": "reconcile: {approval: required}\n",
    "failing": "reconcile: {retry: {limit: 5, backoff: 40m, maxBackoff: 2h}}\n",
    "gone": "reconcile: {onDelete: destroy}\n",
    "good": "labels: {team: web}\n",
    "held": "",
    "nightly": (
        "schedules:\n"
        '  - {name: look, cron: "0 3 * * *", timeZone: UTC, operation: refresh}\n'
        "  - {name: once, at: 2026-12-02T12:00:00Z, operation: preview}\n"
    ),
}


def text(name: str, more: str = "") -> str:
    """Return a spec of the stack of that name."""
    return SPEC.format(name=name, secret=SECRET[0]) + more


def play(scene: Scene) -> None:
    """Have happened to each spec what its name says."""
    scene.specs.mkdir()
    for name, more in MORE.items():
        scene.write(name, text(name, more))
    scene.play(timedelta(minutes=15))  # the schedule's time comes within
    where = scene.place()
    where.holds.suspend("held", Hold(by="ada", at=scene.clock.now()))
    scene.write("held", text("held").replace("REGION: eu", "REGION: us"))
    (scene.specs / "gone.yaml").unlink()
    scene.api.duration = timedelta(hours=1)
    scene.write("running", text("running"))
    scene.play(timedelta(minutes=5))
    where.requests.put(
        HandRequest(
            id="20261201T031000000000-00000000",
            kind=RequestKind.TRIGGER,
            name="good",
            by="ada",
            at=scene.clock.now(),
        )
    )


def keep(scene: Scene, target: Path) -> None:
    """Write down what there is now."""
    shutil.copytree(scene.specs, target / "specs")
    shutil.copytree(scene.root / "state", target / "state")
    folders = target / "state/directories"
    (folders / scene.state.folder.name).rename(folders / "specs")
    body = {"taken": scene.clock.now().isoformat(), "asked": scene.api.asked}
    (target / "api.json").write_text(json.dumps(body, indent=1) + "\n")


def main() -> int:
    """Make it, where it is not there yet."""
    target = HERE / __version__
    if target.exists():
        print(f"{target} is there; what a release has left is not made again", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ[SECRET[0]] = SECRET[1]
        scene = Scene(Path(folder), SimClock(time=BEGIN))
        play(scene)
        assert parser.run(["status", "specs", "--data", "state"]) == 0
        keep(scene, target)
    print(f"{target} is made; add it with `git add`")
    return 0


if __name__ == "__main__":
    sys.exit(main())
