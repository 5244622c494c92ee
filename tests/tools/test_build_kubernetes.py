"""The build of the cluster's programs, with a stand-in for Go: the real one takes minutes."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools.test_build_pulumi import ROOT, Machine
from tools.build_kubernetes import API_SERVER, CLUSTER, location

pytestmark = pytest.mark.real


def build(machine: Machine, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.build_kubernetes", *options],
        cwd=ROOT,
        env=machine.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine of its own for each test, with a Go."""
    made = Machine(tmp_path)
    made.go(made.bin / "go")
    return made


def programs(machine: Machine) -> list[str]:
    return sorted(path.name for path in machine.cache.parent.glob("*/*"))


def test_the_ordinary_tests_need_two_programs(machine: Machine) -> None:
    """Each is built from its pinned module; the API server is told its own version."""
    done = build(machine)
    assert done.returncode == 0, done.stderr
    assert programs(machine) == sorted(API_SERVER)
    etcd, server = machine.built()
    assert etcd.startswith(f"{ROOT}/tools/kubernetes/etcd -mod=readonly build -trimpath")
    assert server.startswith(f"{ROOT}/tools/kubernetes/cluster -mod=readonly build -trimpath")
    version = location("kubelet").parent.name.removeprefix("kubernetes-")
    assert f"gitVersion={version} " in server


def test_a_node_is_built_when_it_is_asked_for(machine: Machine) -> None:
    """What is there is not built again, and what is missing is."""
    build(machine)
    assert build(machine).returncode == 0
    assert len(machine.built()) == 2
    assert build(machine, "--cluster").returncode == 0
    assert programs(machine) == sorted(CLUSTER)
    assert len(machine.built()) == len(CLUSTER)


def test_a_failed_build_leaves_no_half_program(machine: Machine) -> None:
    """A program is there whole or not at all."""
    machine.go(machine.bin / "go", fail='case "$PWD" in *cluster) exit 1 ;; esac')
    assert build(machine).returncode != 0
    assert programs(machine) == ["etcd"]


def test_without_any_go_the_answer_says_what_to_do(machine: Machine) -> None:
    """No Go and no package index: the ways out are named."""
    (machine.bin / "go").unlink()
    done = build(machine)
    assert done.returncode == 1
    assert "install Go 1." in done.stderr
    assert "Traceback" not in done.stderr
