"""What people say by hand, with the real command line, engine, git and pulumi."""

from __future__ import annotations

import shutil

import pytest

from tests.acceptance.conftest import Place, eventually

pytestmark = pytest.mark.real


def test_a_running_daemon_hears_of_approvals_and_suspensions(place: Place) -> None:
    """A preview waits for a person; a suspended spec for its resumption: both reach a daemon."""
    place.program()
    spec = place.spec("one", "reconcile: {approval: required}\n")
    running = place.start("run", "specs", *place.run_arguments())
    eventually(lambda: place.status("one")["reason"] == "Approval", "the question")
    assert not (place.made / "one.txt").exists()
    why = place.by_hand("why", "one").stdout
    assert "(version 1; a preview to be approved) succeeded" in why
    assert "update can be approved until" in why
    assert "reconciler approve one" in why
    assert "nobody reconciles" not in why
    done = place.by_hand("approve", "one")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "as version 1 has shown it" in done.stdout
    assert str(running.pid) in done.stdout
    eventually(lambda: place.status("one")["state"] == "Ready", "the approved run")
    assert (place.made / "one.txt").read_text() == "eu"
    held = ("--directory", "specs", "--data", str(place.data))
    assert place.reconciler("suspend", "one", *held).returncode == 0
    eventually(lambda: place.status("one")["state"] == "Suspended", "the suspension")
    spec.write_text(spec.read_text().replace("approval: required", "timeout: 1h"))
    assert place.reconciler("resume", "one", *held).returncode == 0
    eventually(lambda: place.status("one")["state"] == "Ready", "the end of it")
    running.terminate()
    running.communicate(timeout=10)
    assert running.returncode == 0


def test_a_forgotten_stack_is_adopted_without_a_run(place: Place) -> None:
    """With every status lost nothing runs by itself; adopted, the stack is Ready as it is."""
    place.program()
    place.spec("one")
    place.once()
    (place.specs / "one.status.json").unlink()
    shutil.rmtree(place.data / "directories")
    spec = place.specs / "one.yaml"
    spec.write_text(spec.read_text().replace("REGION: eu", "REGION: us"))
    assert "Stalled" in place.once(1)
    done = place.reconciler(
        "adopt", "--all", "--yes", "--directory", "specs", *place.run_arguments()
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "one (acme/web/one): the stack has 1 deployments" in done.stdout
    assert place.status("one")["deployment"]["version"] == 1
    assert place.status("one")["state"] == "Ready"
    assert (place.made / "one.txt").read_text() == "eu"
