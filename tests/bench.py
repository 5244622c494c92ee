"""Measures, as ratios in one run: `make bench`.

Machines differ and are noisy, so nothing here is a test. Each figure stands beside a baseline
that was measured in turn with it, as the median of several rounds.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from reconciler.api.client import ApiClient
from reconciler.api.types import DeploymentRequest, GitSource, Secret, StackRef
from reconciler.engine import tokens
from reconciler.engine.config import EngineConfig
from reconciler.engine.server import running
from reconciler.errors import ReconcilerError
from reconciler.pulumi_cli import PulumiCli, find

ROUNDS = 7
STACK = StackRef("acme", "bench", "dev")


@dataclass(frozen=True)
class Figure:
    """One line of the table: seconds, and what they are held against."""

    what: str
    measured_s: float
    baseline_s: float
    target: str

    def __str__(self) -> str:
        ratio = self.measured_s / self.baseline_s
        return (
            f"{self.what:<58} {self.measured_s * 1000:8.0f} {self.baseline_s * 1000:8.0f}"
            f" {ratio:7.2f}  {self.target}"
        )


def timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def in_turn(
    one: Callable[[], object], other: Callable[[], object], rounds: int = ROUNDS
) -> tuple[float, float]:
    """Return the medians of two things done in turn, after one round that does not count."""
    one(), other()
    pairs = [(timed(one), timed(other)) for _ in range(rounds)]
    return statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)


def command(*arguments: str | Path, cwd: Path, environment: dict[str, str]) -> None:
    subprocess.run(arguments, cwd=cwd, env=environment, check=True, capture_output=True)


def repository(root: Path) -> Path:
    """Make a repository with a program without resources: about 0.3 s for `pulumi up`."""
    path = root / "repository"
    path.mkdir()
    (path / "Pulumi.yaml").write_text("name: bench\nruntime: yaml\noutputs: {answer: '42'}\n")
    who = ["-c", "user.name=Bench", "-c", "user.email=bench@example.com"]
    for words in (["init", "-q", "-b", "main"], ["add", "."], [*who, "commit", "-qm", "one"]):
        command("git", *words, cwd=path, environment=dict(os.environ))
    return path


def by_hand(root: Path, source: Path, cli: PulumiCli) -> Callable[[], None]:
    """Return what a person would do: clone, install, select, up."""
    home = root / "hand"
    (home / "backend").mkdir(parents=True)
    environment = {
        "PATH": f"{cli.directory}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "PULUMI_HOME": str(home / "pulumi"),
        "PULUMI_BACKEND_URL": f"file://{home / 'backend'}",
        "PULUMI_CONFIG_PASSPHRASE": "bench",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }
    count = iter(range(1000))

    def once() -> None:
        folder = home / f"clone-{next(count)}"
        command("git", "clone", "-q", f"file://{source}", folder, cwd=home, environment=environment)
        for words in (
            ["install"],
            ["stack", "select", "--create", "organization/bench/dev"],
            ["up", "--yes", "--skip-preview", "--non-interactive", "--suppress-progress"],
        ):
            command("pulumi", *words, cwd=folder, environment=environment)

    return once


def through_engine(url: str, token: str, source: Path) -> Callable[[], None]:
    """Return the same through an engine: a create, and asking until it has ended."""
    client = ApiClient(url, lambda: Secret(token))
    request: DeploymentRequest[Secret] = DeploymentRequest(
        source=GitSource(repo_url=f"file://{source}", branch="main")
    )

    def once() -> None:
        made = client.create(STACK, request)
        while True:
            found = client.get(STACK, made.id)
            if found is not None and found.status.ended:
                assert found.status == "succeeded", found
                return
            time.sleep(0.01)

    return once


def deployments(root: Path, runner: str) -> Figure:
    source = repository(root)
    cli = find()
    assert isinstance(cli, PulumiCli), cli
    data = root / "engine"
    with ExitStack() as stack:
        engine = stack.enter_context(
            running(EngineConfig(data=data, port=0, runner=runner, local_repositories=True))
        )
        token = tokens.create(
            data, organization="acme", user="bench", email="", role="deploy", expires=None
        )
        ours, theirs = in_turn(
            through_engine(engine.url, token, source), by_hand(root, source, cli)
        )
    return Figure(f"a deployment ({runner}), over the same by hand", ours, theirs, "<= 1.3")


def python(*arguments: str, cwd: Path) -> Callable[[], None]:
    return lambda: command(sys.executable, *arguments, cwd=cwd, environment=dict(os.environ))


def start_up() -> Figure:
    here = Path.cwd()
    ours, theirs = in_turn(
        python("-m", "reconciler", "--help", cwd=here), python("-c", "pass", cwd=here), 10
    )
    return Figure("reconciler --help, over python -c pass", ours, theirs, "<= 100 ms")


def no_change(root: Path) -> Figure:
    """Measure a pass that finds nothing to do, over reading the same files and no more."""
    repository(root)
    specs = root / "specs"
    specs.mkdir()
    for number in range(4):
        (specs / f"s{number}.yaml").write_text(
            f"stack: acme/bench/s{number}\n"
            "sourceContext: {git: {repoUrl: ../repository}}\n"
            "operationContext: {options: {skipInstallDependencies: true}}\n"
        )
    flags = ("--data", str(root / "state"))
    once = python("-m", "reconciler", "run", "--once", "specs", *flags, cwd=root)
    once()
    ours, theirs = in_turn(once, python("-m", "reconciler", "validate", "specs", cwd=root))
    return Figure("run --once over 4 specs, no change, over validate", ours, theirs, "")


def main() -> None:
    print(f"{'':<58} {'ms':>8} {'baseline':>8} {'ratio':>7}  target")
    print(start_up(), flush=True)
    for measure in (
        lambda root: deployments(root, "bubblewrap"),
        lambda root: deployments(root, "process"),
        no_change,
    ):
        with tempfile.TemporaryDirectory(dir=Path.home()) as folder:
            try:
                print(measure(Path(folder)), flush=True)
            except (ReconcilerError, subprocess.CalledProcessError) as error:
                print(f"not measured: {error}", flush=True)


if __name__ == "__main__":
    main()
