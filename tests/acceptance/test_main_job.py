"""The main job with the real command line, engine, git and pulumi."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.conftest import ROOT, Place, eventually

pytestmark = pytest.mark.real


def test_from_nothing_to_ready_and_then_nothing_to_do(place: Place) -> None:
    """A committed spec becomes a deployment, and a second pass finds nothing to do."""
    place.program()
    place.spec("one")
    assert "never deployed" in place.plan(2)
    assert "Ready" in place.once()
    assert (place.made / "one.txt").read_text() == "eu"
    assert place.status("one")["deployment"]["version"] == 1
    assert "nothing to do: 1 of 1" in place.once()
    assert place.status("one")["deployment"]["version"] == 1
    assert place.plan(0).endswith("nothing to do\n")


def test_an_edit_is_planned_with_its_values_and_deployed_once(place: Place) -> None:
    """The plan names the file, the field, the old and the new value; the version goes up by one."""
    place.program()
    spec = place.spec("one")
    place.once()
    spec.write_text(spec.read_text().replace("REGION: eu", "REGION: us"))
    text = place.plan(2)
    assert "specs/one.yaml: operationContext.environmentVariables.REGION: eu → us" in text
    place.once()
    place.plan(0)
    assert place.status("one")["deployment"]["version"] == 2
    assert (place.made / "one.txt").read_text() == "us"


def test_a_new_commit_is_deployed_once_with_that_commit(place: Place) -> None:
    """A commit in the source starts one deployment, which is of that commit."""
    place.program()
    place.spec("one")
    place.once()
    commit = place.commit("another")
    assert commit[:12] in place.plan(2)
    place.once()
    status = place.status("one")
    assert (status["deployment"]["version"], status["commit"]) == (2, commit)


def test_drift_is_mended_by_hand(place: Place) -> None:
    """A managed file that was deleted is back after a refresh and an update by hand."""
    place.program()
    place.spec("one")
    place.once()
    (place.made / "one.txt").unlink()
    done = place.by_hand("trigger", "one", "--operation", "refresh")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (place.made / "one.txt").exists()
    done = place.by_hand("trigger", "one")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (place.made / "one.txt").read_text() == "eu"
    assert place.status("one")["deployment"]["version"] == 3


def test_a_failing_program_is_retried_stalls_and_recovers(place: Place) -> None:
    """Failed with its step and log, retried by the rule, then Stalled; a fix makes it Ready."""
    place.program(fails="no-room-left")
    place.spec("one", "reconcile: {retry: {limit: 1, backoff: 1s}}\n")
    text = place.once(1)
    assert "Failed: step 'Pulumi operation' failed" in text
    assert "try 2 of 2" in text
    status = place.status_file("one")
    assert place.status("one")["state"] == "Stalled"
    assert any("no-room-left" in line for line in status["last"]["log"])
    assert status["last"]["step"] == "Pulumi operation"
    assert "no-room-left" in status["reason"]["message"]
    assert place.status("one")["deployment"]["version"] == 2
    place.program()
    assert "Ready" in place.once()
    assert place.status("one")["deployment"]["version"] == 3


def test_a_dependency_comes_first(place: Place) -> None:
    """What depends on another waits for it, and runs in the same pass."""
    place.program()
    place.spec("a-second", "reconcile: {dependsOn: [first]}\n")
    place.spec("first")
    text = place.once()
    assert text.index("first  Ready") < text.index("a-second  Progressing: update runs")
    assert place.status("a-second")["state"] == "Ready"


def test_bad_files_start_nothing_and_harm_no_others(place: Place) -> None:
    """Broken specs are one-line errors with a place; the good ones go on."""
    place.program()
    place.spec("good")
    place.spec("bad").write_text("stack: acme/web/bad\nsourceContex: {}\n")
    place.spec("round", "reconcile: {dependsOn: [circle]}\n")
    place.spec("circle", "reconcile: {dependsOn: [round]}\n")
    place.spec("twin-a").write_text((place.specs / "good.yaml").read_text().replace("good", "twin"))
    place.spec("twin-b").write_text((place.specs / "good.yaml").read_text().replace("good", "twin"))
    done = place.reconciler("validate", "specs")
    assert done.returncode == 1
    for line in done.stdout.splitlines():
        assert re.match(r"specs/[\w-]+\.yaml:\d+:\d+: ", line), line
    assert "did you mean" in done.stdout
    assert "circle → round → circle" in done.stdout or "round → circle → round" in done.stdout
    place.once(1)
    states = {n: place.status(n)["state"] for n in ("good", "bad", "round", "twin-a", "twin-b")}
    assert states == {
        "good": "Ready",
        "bad": "Invalid",
        "round": "Invalid",
        "twin-a": "Conflict",
        "twin-b": "Conflict",
    }
    assert [p.name for p in place.made.iterdir()] == ["good.txt"]


def test_cancel_ends_the_tree_and_is_not_retried(place: Place) -> None:
    """A cancelled operation leaves no process and no lock, and is not tried again."""
    place.program(delay="600")
    place.spec("one")
    place.flags += ["--cancel-grace", "5s"]
    running = place.start("run", "specs", *place.run_arguments())
    eventually(lambda: any("pulumi up" in p for p in place.processes()), "the operation")
    # A resource is being created: only then is there something to interrupt.
    eventually(lambda: any("resource-localfile" in p for p in place.processes()), "the provider")
    assert place.by_hand("cancel", "one").returncode == 0
    eventually(lambda: place.status("one")["state"] == "Stalled", "the end of the run")
    assert "canceled" in place.status("one")["message"]
    assert not any("pulumi up" in p or "localfile" in p for p in place.processes())
    assert place.locks() == []
    running.terminate()
    out, _ = running.communicate(timeout=10)
    assert running.returncode == 0, out
    # Looked at again, it stays as it is: a cancel is a person's word.
    assert "nothing was started" in place.once(1)
    assert place.status("one")["deployment"]["version"] == 1


def test_the_daemon_follows_files_requests_and_signals(place: Place) -> None:
    """The daemon takes up an edit and a request by hand, and ends within 5 s of SIGTERM."""
    place.program()
    place.spec("one")
    running = place.start("run", "specs", *place.run_arguments())
    eventually((place.made / "one.txt").exists, "the first file")
    second = place.reconciler("run", "specs", "--once", *place.run_arguments())
    assert second.returncode == 75
    assert str(running.pid) in second.stderr
    place.spec("two")
    eventually((place.made / "two.txt").exists, "the second file")
    eventually(lambda: place.status("one")["state"] == "Ready", "rest")
    assert "takes it up" in place.by_hand("trigger", "one").stdout
    eventually(lambda: (place.status("one")["deployment"] or {})["version"] == 2, "the trigger")
    running.terminate()
    running.communicate(timeout=5)
    assert running.returncode == 0


def test_a_secret_from_a_file_reaches_the_program_and_nothing_else(place: Place) -> None:
    """A secret's value is in no file of ours, in no output and in no command line."""
    canary = "canary-7f3a9c51e2"
    secrets = place.root / "secrets"
    secrets.mkdir()
    (secrets / "region").write_text(canary + "\n")
    place.program()
    spec = place.spec("one")
    text = spec.read_text().replace("REGION: eu", "REGION: {secret: {fromFile: region}}")
    spec.write_text(text)
    place.flags += ["--secrets-dir", str(secrets)]
    shown = place.once() + place.plan(0) + place.by_hand("logs", "one").stdout
    assert (place.made / "one.txt").read_text() == canary
    assert canary not in shown
    (secrets / "region").write_text("another-8e2b\n")
    assert "REGION: changed (secret)" in place.plan(2)
    written = [p for p in place.root.rglob("*") if p.is_file() and p.parent != secrets]
    holding = [p for p in written if canary.encode() in p.read_bytes()]
    assert holding == [place.made / "one.txt"]


def test_the_examples_become_ready(place: Place, tmp_path: Path) -> None:
    """A clone of this repository runs its own examples, as `make demo` does."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    demo = Path("/tmp/reconciler-demo")
    demo.mkdir(exist_ok=True)
    done = place.reconciler(
        "run",
        "--once",
        str(clone / "deployments.d"),
        *("--data", str(place.data), "--allow-write", str(demo)),
        *("--secrets-dir", str(clone / "examples/secrets")),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("  Ready  ") == 4
    assert (demo / "greeting.txt").read_text() == "made by a command"
    assert (demo / "dev/region.txt").read_text() == "eu-central-1"


def test_a_program_cannot_see_the_secrets_of_others(place: Place) -> None:
    """Neither the state directory nor the secrets' directory is there for a deployed program."""
    secrets = place.root / "secrets"
    secrets.mkdir()
    (secrets / "region").write_text("canary-of-another-spec\n")
    place.program()
    spec = place.spec("one")
    spec.write_text(
        spec.read_text()
        + f"  preRunCommands: ['! cat {secrets}/region', '! cat {place.data}/hash-key']\n"
    )
    place.flags += ["--secrets-dir", str(secrets), "--runner", "bubblewrap"]
    place.once()
    log = place.by_hand("logs", "one").stdout
    assert "No such file or directory" in log
    assert "\x1b" not in log
    assert "canary-of-another-spec" not in log


def test_a_failed_refresh_by_hand_is_no_success(place: Place) -> None:
    """A run by hand of another operation says how it ended, and Ready stays as it was."""
    place.program()
    place.spec("one")
    place.once()
    shutil.rmtree(place.repository / "web")
    place.commit("no program any more")
    spec = place.specs / "one.yaml"
    spec.write_text(spec.read_text() + "reconcile: {onChange: [spec], retry: {limit: 0}}\n")
    place.plan(0)
    done = place.by_hand("trigger", "one", "--operation", "refresh")
    assert done.returncode == 1, done.stdout
    assert "refresh ended: step 'Get source' failed" in done.stdout
    assert place.status("one")["state"] == "Ready"
