"""The contract of all runners, kept by pods of a real cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.engine.runners.kubernetes.runner import KubernetesRunner
from tests.runners import test_contract as contract
from tests.runners.processes import World

pytestmark = [pytest.mark.cluster, pytest.mark.real]

# What is about processes between the engine and the command on its own host: there are none.
# test_pods.py has what takes their place.
OTHERS = {
    "test_a_tree_ends_with_the_engine",
    "test_a_tree_ends_with_what_watches_it",
    "test_no_child_or_open_file_is_left_in_the_engine",
}
globals().update(
    (name, value)
    for name, value in vars(contract).items()
    if name == "token" or (name.startswith("test_") and name not in OTHERS)
)


@pytest.fixture
def world(shared: KubernetesRunner, tmp_path: Path) -> Iterator[World]:
    """The kubernetes runner, with the workspace on a volume."""
    made = World(shared, tmp_path)
    made.deployment_id = f"deployment-{tmp_path.name}".replace("_", "-")[:60].strip("-.")
    yield made
    made.close()
