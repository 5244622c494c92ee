import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.engine.config import Containers
from reconciler.engine.kubernetes_settings import KubernetesSettings
from reconciler.engine.runners.choose import choose
from reconciler.engine.runners.strays import end_strays
from reconciler.errors import ReconcilerError, UsageError
from tests.runners.image import image
from tests.runners.processes import LIMIT_S, World, left
from tests.waiting import eventually

pytestmark = pytest.mark.real

# The runners that need nothing but this host.
HERE = ("bubblewrap", "process", "container")


@pytest.mark.parametrize("name", HERE)
def test_a_runner_is_chosen_by_its_name(name: str) -> None:
    """What is named is what one gets."""
    assert choose(name).usual.name == name


def test_without_a_name_the_sandbox_is_chosen_where_it_works() -> None:
    """The safe one is the default."""
    assert choose(None).usual.name == "bubblewrap"


def test_git_has_the_sandbox_whatever_runs_the_programs() -> None:
    """Whoever trusts the programs need not trust what else a repository holds."""
    assert choose("process").host.name == "bubblewrap"


def test_without_a_sandbox_the_weaker_one_is_chosen_aloud(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody runs without a sandbox and is not told."""
    monkeypatch.setenv("PATH", "/nonexistent")
    assert choose(None).usual.name == "process"
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "programs you trust" in caplog.text


def test_a_named_sandbox_that_does_not_work_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for a sandbox never gets less, but is told what to do."""
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ReconcilerError, match="apt-get install bubblewrap"):
        choose("bubblewrap")


def test_a_named_container_runner_without_an_engine_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It says what to install."""
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ReconcilerError, match="podman is not installed; docker is not installed"):
        choose("container")


def test_an_unknown_runner_is_a_mistake() -> None:
    """The names that there are, are named."""
    with pytest.raises(UsageError, match="bubblewrap, process, container"):
        choose("vm")


def test_strays_are_found_by_their_environment_and_their_session(tmp_path: Path) -> None:
    """What has the id is ended, and so is what shares its session without having it."""
    token = f"stray-{os.getpid()}-{tmp_path.name}"
    without = f"env -i sh -c 'sleep 1000; : {token}'"
    script = f"{without} & setsid sh -c 'sleep 1000; : {token}' & echo ready; sleep 1000; :"
    environment = {"PATH": os.environ["PATH"], "PULUMI_CI_BUILD_ID": token}
    with subprocess.Popen(
        ["sh", "-c", script], env=environment, start_new_session=True, stdout=subprocess.PIPE
    ) as parent:
        try:
            assert parent.stdout is not None
            assert parent.stdout.readline() == b"ready\n"
            eventually(lambda: len(left(token)) >= 3, "the strays")
            assert end_strays(token) >= 3
        finally:
            parent.kill()
    assert left(token) == []


def test_strays_of_others_are_left_alone(tmp_path: Path) -> None:
    """An id that is the beginning of another, or stands in another variable, is not that id."""
    environment = {"PATH": os.environ["PATH"], "PULUMI_CI_BUILD_ID": "ab", "X": "c"}
    with subprocess.Popen(["sleep", "1000"], env=environment, cwd=tmp_path) as other:
        assert end_strays("a") == 0
        assert end_strays("c") == 0
        assert end_strays("") == 0
        assert other.poll() is None
        other.kill()


def test_an_engine_inside_a_deployment_does_not_end_itself() -> None:
    """A nested engine that has the very id spares itself and what it descends from."""
    program = (
        "from reconciler.engine.runners.strays import end_strays\n"
        "print(end_strays('outer'), flush=True)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={"PATH": os.environ["PATH"], "PULUMI_CI_BUILD_ID": "outer"},
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, b"0\n")


@pytest.mark.parametrize("name", HERE)
def test_strays_of_a_running_command_are_ended(name: str, tmp_path: Path) -> None:
    """Also while its engine lives: the command reads as killed."""
    containers = Containers(default_image=image() if name == "container" else "x")
    world = World(choose(name, containers).usual, tmp_path)
    token = f"running-{os.getpid()}-{tmp_path.name}"
    world.environment["PULUMI_CI_BUILD_ID"] = world.deployment_id = token
    process = world.start("sh", "-c", f"echo ready; sleep 1000; : {token}")
    eventually(lambda: world.output == b"ready\n", "the command")
    assert world.runner.end_strays(token) > 0
    assert process.wait(LIMIT_S) == 137
    assert left(token) == []
    world.close()


def test_pods_need_to_know_their_cluster(tmp_path: Path) -> None:
    """Without a configuration the engine does not start, and the option is named."""
    missing = tmp_path / "none"
    with pytest.raises(UsageError, match="--kubernetes-config") as caught:
        choose("kubernetes", kubernetes=KubernetesSettings(config=str(missing)))
    assert str(missing) in str(caught.value)
