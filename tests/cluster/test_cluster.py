"""The tests' own cluster leaves nothing behind, however the tests end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runners.processes import LIMIT_S, left
from tests.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.real]


def test_a_cluster_ends_with_the_tests_that_are_killed() -> None:
    """No process and no mount of it is left."""
    tests = subprocess.Popen(
        [sys.executable, "-m", "tests.kubernetes_cluster"],
        cwd=Path(__file__).parents[2],
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert tests.stdout is not None
    directory = Path(tests.stdout.readline().strip()).parent
    assert directory.name.startswith("cluster-")
    assert left(str(directory)) != []
    tests.kill()
    tests.communicate(timeout=LIMIT_S)
    eventually(lambda: left(str(directory)) == [], "its programs are gone")
    assert str(directory) not in Path("/proc/mounts").read_text()
    shutil.rmtree(directory)
