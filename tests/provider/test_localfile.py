"""The demonstration's provider, as the real Pulumi uses it on a backend of files."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from reconciler.pulumi_cli import PulumiCli, find

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
# Far more than a run takes on a machine that does much else.
LIMIT_S = 120.0
# Longer than any test may take: who waits for it has not been interrupted.
FOREVER_S = 3000


class Program:
    """A YAML program with resources of the provider, its backend, and the pulumi to run it."""

    def __init__(self, root: Path) -> None:
        cli = find()
        assert isinstance(cli, PulumiCli), cli
        self._pulumi = str(cli.program)
        self.root = root
        self.made = root / "made"
        self.state = root / "state"
        for directory in (root / "program", self.state, root / "home"):
            directory.mkdir()
        self.environment = {
            "PATH": f"{cli.directory}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(root / "home"),
            "PULUMI_HOME": str(root / "home" / "pulumi"),
            "PULUMI_BACKEND_URL": f"file://{self.state}",
            "PULUMI_CONFIG_PASSPHRASE": "a passphrase",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        }

    def write(self, **files: dict[str, Any]) -> None:
        """Write the program: one resource an argument, `path` below `made`."""
        resources = {
            name: {
                "type": "localfile:File",
                "properties": inputs | {"path": f"{self.made}/{inputs.get('path', name)}"},
            }
            for name, inputs in files.items()
        }
        self.write_raw(resources)

    def write_raw(self, resources: dict[str, Any]) -> None:
        provider = {"name": "localfile", "path": str(ROOT / "examples" / "provider")}
        program = {
            "name": "program",
            "runtime": "yaml",
            "plugins": {"providers": [provider]},
            "resources": resources,
        }
        (self.root / "program" / "Pulumi.yaml").write_text(json.dumps(program))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `pulumi` on the stack `dev`."""
        changing = (
            ["--yes", "--skip-preview"] if arguments[0] in {"up", "refresh", "destroy"} else []
        )
        if "--preview-only" in arguments:
            changing = []
        return subprocess.Popen(
            [self._pulumi, *arguments, *changing, "--non-interactive", "--color", "never"],
            cwd=self.root / "program",
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def pulumi(self, *arguments: str, code: int = 0) -> str:
        """Run `pulumi`, which is to end with that code (-1: any but 0), and return its output."""
        with self.start(*arguments) as running:
            output = running.communicate(timeout=LIMIT_S)[0]
        assert running.returncode == code or (code == -1 and running.returncode), output
        return output

    def resource(self, name: str) -> dict[str, Any] | None:
        """Return what the state knows of a resource."""
        return next((r for r in self.resources() if r["urn"].endswith(f"::{name}")), None)

    def resources(self) -> list[dict[str, Any]]:
        path = self.state / ".pulumi" / "stacks" / "program" / "dev.json"
        latest = json.loads(path.read_text())["checkpoint"]["latest"]
        assert not latest.get("pending_operations")
        found: list[dict[str, Any]] = latest.get("resources") or []
        return found


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """A program with a stack `dev` and no resource yet."""
    made = Program(tmp_path)
    made.write()
    made.pulumi("stack", "init", "organization/program/dev")
    return made


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_file_is_made_kept_changed_and_deleted(program: Program) -> None:
    """Up makes it, refresh sees that it was deleted, up puts it back, destroy takes it away."""
    file = program.made / "deep" / "a.txt"
    program.write(a={"path": "deep/a.txt", "content": "one", "mode": "0640"})
    program.pulumi("up")
    assert file.read_text() == "one"
    assert file.stat().st_mode & 0o777 == 0o640
    known = program.resource("a")
    assert known is not None
    assert known["id"] == str(file)
    assert known["outputs"]["sha256"] == sha256("one")
    program.pulumi("up", "--expect-no-changes")

    file.unlink()
    program.pulumi("refresh", "--preview-only", "--expect-no-changes", code=-1)
    assert program.resource("a") is not None
    program.pulumi("refresh")
    assert program.resource("a") is None
    program.pulumi("up")
    assert file.read_text() == "one"

    program.write(a={"path": "deep/a.txt", "content": "two", "mode": "0600"})
    assert "1 updated" in program.pulumi("up")
    assert file.read_text() == "two"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(file.parent.iterdir()) == [file]

    program.pulumi("destroy")
    assert not file.exists()
    assert program.resource("a") is None


@pytest.mark.parametrize("what", ["content", "mode"])
def test_a_refresh_sees_what_others_changed(program: Program, what: str) -> None:
    """A changed file or mode is drift; after a refresh, an update takes it back."""
    program.write(a={"content": "ours", "mode": "0644"})
    program.pulumi("up")
    program.pulumi("refresh", "--expect-no-changes")
    file = program.made / "a"
    if what == "content":
        file.write_text("theirs")
    else:
        file.chmod(0o600)
    program.pulumi("refresh", "--preview-only", "--expect-no-changes", code=-1)
    assert "1 updated" in program.pulumi("refresh")
    assert "1 updated" in program.pulumi("up")
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("ours", 0o644)


def test_another_path_is_another_file(program: Program) -> None:
    """A new path replaces the resource: the new file is made, the old one is deleted."""
    program.write(a={"path": "old", "content": "x"})
    program.pulumi("up")
    program.write(a={"path": "new", "content": "x"})
    assert "1 replaced" in program.pulumi("up")
    assert [path.name for path in program.made.iterdir()] == ["new"]


def test_a_preview_touches_nothing(program: Program) -> None:
    """Neither making nor changing is done in a preview."""
    program.write(a={"content": "one"})
    assert "2 to create" in program.pulumi("preview")
    assert not program.made.exists()
    program.pulumi("up")
    program.write(a={"content": "two"})
    assert "1 to update" in program.pulumi("preview")
    assert (program.made / "a").read_text() == "one"


def test_a_file_that_is_gone_can_be_destroyed(program: Program) -> None:
    """Whoever deletes it first, the end is the same."""
    program.write(a={"content": "x"})
    program.pulumi("up")
    (program.made / "a").unlink()
    program.pulumi("destroy")
    assert program.resource("a") is None


def test_a_failing_operation_says_why_and_changes_nothing(program: Program) -> None:
    """The text of `failWith` is the error; what does not depend on it is made all the same."""
    program.write(a={"content": "x", "failWith": "the disk is on fire"}, b={"content": "x"})
    assert "the disk is on fire" in program.pulumi("up", code=-1)
    assert not (program.made / "a").exists()
    assert program.resource("a") is None
    program.write(a={"content": "x"}, b={"content": "x"})
    program.pulumi("up")
    program.write(a={"content": "y", "failWith": "again"}, b={"content": "x"})
    assert "again" in program.pulumi("up", code=-1)
    assert (program.made / "a").read_text() == "x"


@pytest.mark.parametrize("operation", ["create", "update", "delete"])
def test_one_interrupt_ends_a_slow_operation(program: Program, operation: str) -> None:
    """Pulumi ends at once, in good order: no lock, nothing pending, the file as it was."""
    slow = {"content": "x", "delaySeconds": FOREVER_S}
    file = program.made / "a"
    if operation == "create":
        program.write(a=slow)
    else:
        program.write(a={"content": "old", "delaySeconds": 0.01})
        program.pulumi("up")
        program.write(a=slow)
    command = ["up"]
    if operation == "delete":
        # How slow it is to be deleted, the state says.
        state = json.loads(program.pulumi("stack", "export"))
        for resource in state["deployment"]["resources"]:
            if "delaySeconds" in resource.get("outputs", {}):
                resource["outputs"]["delaySeconds"] = FOREVER_S
        (program.root / "state.json").write_text(json.dumps(state))
        program.pulumi("stack", "import", "--file", str(program.root / "state.json"))
        command = ["destroy"]
    doing = {"create": "creating", "update": "updating", "delete": "deleting"}[operation]
    with program.start(*command) as running:
        assert running.stdout is not None
        guard = threading.Timer(LIMIT_S, running.kill)
        guard.start()
        output = ""
        while doing not in output:
            line = running.stdout.readline()
            assert line, output
            output += line
        began = time.monotonic()
        running.send_signal(signal.SIGINT)
        output += running.stdout.read()
        guard.cancel()
    assert running.returncode == 1, output
    assert time.monotonic() - began < 30
    assert "cancel" in output
    assert file.exists() == (operation != "create")
    assert operation == "create" or file.read_text() == "old"
    assert [path for path in program.state.rglob("locks/**/*") if path.is_file()] == []
    program.resources()


def test_a_secret_is_in_the_state_as_its_hash_only(program: Program) -> None:
    """Content that comes from a variable is written to the file, and nowhere else."""
    secret = "c4nary-of-a-s3cret"
    program.environment["PASSWORD"] = secret
    program.write(a={"contentFromEnv": "PASSWORD"})
    output = program.pulumi("up")
    assert (program.made / "a").read_text() == secret
    known = program.resource("a")
    assert known is not None
    assert known["outputs"]["sha256"] == sha256(secret)
    program.pulumi("refresh", "--expect-no-changes")
    program.environment["PASSWORD"] = f"{secret}-2"
    output += program.pulumi("up")
    assert "1 updated" in output
    assert secret not in output
    for path in (*program.state.rglob("*"), *(program.root / "program").rglob("*")):
        assert not path.is_file() or secret.encode() not in path.read_bytes()


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "relative path": ({"path": "a", "content": "x"}, "an absolute path belongs here"),
    "no content": ({"path": "/a"}, "needs one of content and contentFromEnv"),
    "two contents": (
        {"path": "/a", "content": "x", "contentFromEnv": "PATH"},
        "needs one of content and contentFromEnv",
    ),
    "no such variable": ({"path": "/a", "contentFromEnv": "NOPE"}, "NOPE is not set"),
    "no octal mode": ({"path": "/a", "content": "x", "mode": "rw"}, "is no octal number"),
}


def test_a_mistake_is_said_before_anything_is_done(program: Program) -> None:
    """Each wrong input is named with what belongs there."""
    program.write_raw(
        {
            name: {"type": "localfile:File", "properties": inputs}
            for name, (inputs, _) in zip("abcde", WRONG.values(), strict=True)
        }
    )
    # One mistake at a time stops Pulumi, so each is asked for by itself.
    for name, (_, reason) in zip("abcde", WRONG.values(), strict=True):
        target = f"urn:pulumi:dev::program::localfile:index:File::{name}"
        assert reason in program.pulumi("preview", "--target", target, code=-1)
