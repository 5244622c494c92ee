"""The pieces for CI are run, as far as one machine can: their own scripts, with a real engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.engine.served import command, served
from tests.package import ROOT, clone, uv

pytestmark = pytest.mark.real

LIMIT_S = 240
BIN = Path(sys.executable).parent
ACTION = yaml.safe_load((ROOT / "examples/ci/github/action.yml").read_text())
WORKFLOW = yaml.safe_load((ROOT / "examples/ci/github/workflow.yml").read_text())
JOBS = yaml.safe_load((ROOT / "examples/ci/gitlab/.gitlab-ci.yml").read_text())
SPEC = "stack: acme/hello/dev\nsourceContext: {git: {repoUrl: .., branch: main}}\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a program and a spec of it."""
    folder = tmp_path / "repository"
    (folder / "deployments.d").mkdir(parents=True)
    (folder / "deployments.d/hello.yaml").write_text(SPEC)
    (folder / "Pulumi.yaml").write_text("name: hello\nruntime: yaml\noutputs: {greeting: hello}\n")
    (folder / ".gitignore").write_text(".reconciler/\n*.status.json\n")
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder)
    return folder


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True)


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--no-verify", "--allow-empty", "-m", "x")


def base(folder: Path) -> dict[str, str]:
    """Return a machine's environment with uv on its PATH, and nothing of this one's Python."""
    ours = ("PYTHON", "VIRTUAL_ENV", "PULUMI_", "RECONCILER_", "COVERAGE", "GIT_", "XDG_CONFIG")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    if not (tools / "uv").exists():
        (tools / "uv").symlink_to(BIN / "uv")
    kept.setdefault("UV_CACHE_DIR", uv("cache", "dir").strip())
    path = f"{tools}{os.pathsep}{kept['PATH']}"
    return {**kept, "PATH": path, "HOME": str(folder), "LANG": "C.UTF-8", "PIP_NO_COMPILE": "1"}


def shell(script: str, folder: Path, environment: Mapping[str, str], code: int = 0) -> str:
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == code, f"{script}\n{done.stdout}"
    return done.stdout


class Runner:
    """What GitHub does with a composite action: variables, conditions, and files between steps."""

    def __init__(self, root: Path, inputs: Mapping[str, str]) -> None:
        defaults = {name: about["default"] for name, about in ACTION["inputs"].items()}
        self.inputs = {**defaults, **inputs}
        self.files = {n: root / n for n in ("GITHUB_PATH", "GITHUB_STEP_SUMMARY")}
        for file in self.files.values():
            file.touch()
        self.temp = root / "temp"
        self.temp.mkdir(exist_ok=True)

    def wanted(self, step: Mapping[str, Any]) -> bool:
        condition = step.get("if", "'' == ''")
        found = re.fullmatch(r"(?:inputs\.(\w+)|'') (==|!=) '(\w*)'", condition)
        assert found is not None, condition
        same = (self.inputs[found[1]] if found[1] else "") == found[3]
        return same is (found[2] == "==")

    def run(self, folder: Path, mode: str, *done: str, code: int = 0) -> dict[str, str]:
        """Carry out the steps but those `done`; what each that was wanted has printed.

        Each ends with the exit code, and the first that is not 0 is the last.
        """
        self.inputs["mode"] = mode
        said = {}
        for step in ACTION["runs"]["steps"]:
            if step["name"] in done:
                continue
            assert step["shell"] == "bash"
            assert "${{" not in step["run"], "what is given must not become a part of a script"
            if not self.wanted(step):
                continue
            environment = base(folder.parent) | {n: str(f) for n, f in self.files.items()}
            environment["RUNNER_TEMP"] = str(self.temp)
            added = self.files["GITHUB_PATH"].read_text().split()
            environment["PATH"] = os.pathsep.join([*added, environment["PATH"]])
            for name, value in step.get("env", {}).items():
                found = re.fullmatch(r"\$\{\{ inputs\.([\w-]+) \}\}", value)
                assert found is not None, value
                environment[name] = self.inputs[found[1]]
            said[step["name"]] = shell(step["run"], folder, environment, code)
            if code:
                break
        return said


def token(data: Path) -> str:
    return command("token", "create", "--organization", "acme", data=data).strip()


@pytest.mark.timeout(600)
def test_the_action(wheel: Path, tmp_path: Path, repository: Path) -> None:
    """It installs the package, checks, plans with a summary, runs, and has nothing to do again."""
    with served(tmp_path / "engine") as engine:
        given = {
            "package": str(wheel),
            "api-url": engine.url,
            "token": token(engine.data),
            "directory": "deployments.d",
        }
        runner = Runner(tmp_path, given)
        done = runner.run(repository, "run")
        assert list(done) == ["Install", "Validate", "Plan", "Run"]
        assert done["Validate"] == "1 spec is valid\n"
        assert "never deployed" in done["Plan"]
        summary = runner.files["GITHUB_STEP_SUMMARY"].read_text()
        assert summary == f"```text\n{done['Plan']}```\n"
        assert "Ready" in done["Run"]
        again = runner.run(repository, "run", "Install")
        assert "nothing to do: 1 of 1" in again["Run"]
        assert list(runner.run(repository, "plan", "Install")) == ["Validate", "Plan"]
        assert list(runner.run(repository, "validate", "Install")) == ["Validate"]
        bad = repository / "deployments.d/bad.yaml"
        bad.write_text("stack: nonsense\n")
        told = runner.run(repository, "run", "Install", code=1)
        assert list(told) == ["Validate"]
        assert told["Validate"].startswith("::error file=deployments.d/bad.yaml,line=1,col")
        bad.unlink()
        # The GitLab jobs, with what the action has installed and kept.
        environment = base(tmp_path) | {
            **{name: str(value) for name, value in JOBS["variables"].items()},
            "RECONCILER_API_URL": engine.url,
            "PULUMI_ACCESS_TOKEN": given["token"],
            "RECONCILER_PACKAGE": str(wheel),
        }
        lines = "\n".join(
            [*JOBS[".reconciler"]["before_script"], *JOBS["plan"]["script"], *JOBS["run"]["script"]]
        )
        said = shell(lines, repository, environment)
        assert said.count("1 spec is valid") == 2
        assert "nothing to do: 1 of 1" in said


class Cache:
    """What one job leaves to the next one, as the examples ask for it."""

    def __init__(self, folder: Path) -> None:
        self.kept = folder

    def fetch(self, repository: Path) -> None:
        """Begin a job: a checkout has nothing in it but what is committed, and what was kept."""
        git(repository, "clean", "-ffdxq")
        if self.kept.exists():
            shutil.copytree(self.kept, repository / ".reconciler")

    def keep(self, repository: Path) -> None:
        shutil.rmtree(self.kept, ignore_errors=True)
        shutil.copytree(repository / ".reconciler", self.kept)


def fits(condition: str, *, failed: bool) -> bool:
    """Say whether a step of a push runs; by itself none does after a failure."""
    parts = condition.split(" && ")
    assert set(parts) <= {"success()", "always()", "github.event_name != 'pull_request'"}
    return not failed or "always()" in parts


def github_job(runner: Runner, cache: Cache, repository: Path, *, code: int = 0) -> str:
    """Carry out the workflow's job; what its run has printed."""
    (job,) = WORKFLOW["jobs"].values()
    said = ""
    for step in job["steps"]:
        name = step["uses"].partition("@")[0]
        if not fits(step.get("if", "success()"), failed=bool(said and code)):
            continue
        if name == "actions/cache/restore":
            cache.fetch(repository)
        elif name == "actions/cache/save":
            cache.keep(repository)
        elif name.startswith("./"):
            said = runner.run(repository, "run", "Install", "Validate", "Plan", code=code)["Run"]
        else:
            assert name == "actions/checkout"
    return said


def gitlab_job(given: Mapping[str, str], cache: Cache, repository: Path, *, code: int = 0) -> str:
    """Carry out the job `run`; what it has printed."""
    cache.fetch(repository)
    said = shell("\n".join(JOBS["run"]["script"]), repository, given, code)
    about = JOBS[".reconciler"]["cache"] | JOBS["run"].get("cache", {})
    wanted = {"always", "on_failure" if code else "on_success"}
    if about.get("when", "on_success") in wanted and about.get("policy") != "pull":
        cache.keep(repository)
    return said


@pytest.mark.timeout(600)
@pytest.mark.parametrize("forge", ["github", "gitlab"])
def test_a_job_that_fails_leaves_its_state(forge: str, tmp_path: Path, repository: Path) -> None:
    """What a failed job has done is known to the next one, which goes on from there."""
    spec = repository / "deployments.d/hello.yaml"
    spec.write_text(f"{SPEC}reconcile: {{retry: {{limit: 0}}}}\n")
    program = repository / "Pulumi.yaml"
    good = program.read_text()
    program.write_text(good.replace("hello}", "${nobody}}"))
    commit(repository)
    cache = Cache(tmp_path / "kept")
    with served(tmp_path / "engine") as engine:
        given = {"api-url": engine.url, "token": token(engine.data)}
        runner = Runner(tmp_path, given)
        runner.files["GITHUB_PATH"].write_text(f"{BIN}\n")
        environment = base(tmp_path) | {
            **{name: str(value) for name, value in JOBS["variables"].items()},
            "RECONCILER_API_URL": engine.url,
            "PULUMI_ACCESS_TOKEN": given["token"],
        }
        environment["PATH"] = f"{BIN}{os.pathsep}{environment['PATH']}"

        def job(code: int) -> str:
            if forge == "github":
                return github_job(runner, cache, repository, code=code)
            return gitlab_job(environment, cache, repository, code=code)

        job(1)
        program.write_text(good)
        commit(repository)
        assert "Ready" in job(0)


def test_the_workflow_uses_what_the_action_takes() -> None:
    """Each input that the workflow gives is one of the action's, and one job runs at a time."""
    (job,) = WORKFLOW["jobs"].values()
    (step,) = [s for s in job["steps"] if s["uses"].startswith("./")]
    assert set(step["with"]) <= set(ACTION["inputs"])
    restore, save = [s["with"] for s in job["steps"] if s["uses"].startswith("actions/cache/")]
    assert restore["path"] == save["path"] == ACTION["inputs"]["state"]["default"]
    # A cache is never written again: each attempt has a key of its own, and finds the newest.
    assert restore["key"] == save["key"]
    assert save["key"].startswith(restore["restore-keys"])
    assert {"github.run_id", "github.run_attempt"} <= set(re.findall(r"github\.\w+", save["key"]))
    assert WORKFLOW["concurrency"]["cancel-in-progress"] is False
    page = (ROOT / "docs/ci.md").read_text()
    assert [name for name in ACTION["inputs"] if f"`{name}`" not in page] == []


@pytest.mark.timeout(600)
def test_the_hook(tmp_path: Path, repository: Path) -> None:
    """pre-commit installs the hook from a clone; a broken spec is refused, a good one is not."""
    hooks = clone(tmp_path / "hooks")
    revision = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=hooks, capture_output=True, text=True, check=True
    ).stdout.strip()
    (repository / ".pre-commit-config.yaml").write_text(
        f"repos:\n  - repo: file://{hooks}\n    rev: {revision}\n"
        "    hooks: [{id: reconciler-validate}]\n"
    )
    environment = base(tmp_path) | {"PRE_COMMIT_HOME": str(tmp_path / "pre-commit")}
    git(repository, "add", "--all")
    check = f"{BIN}/pre-commit run --all-files --color never"
    assert "Passed" in shell(check, repository, environment)
    (repository / "deployments.d/bad.yaml").write_text("stack: nonsense\n")
    git(repository, "add", "--all")
    said = shell(check, repository, environment, code=1)
    assert "Failed" in said
    assert "deployments.d/bad.yaml:1:8: /stack: 'nonsense' is not" in said
