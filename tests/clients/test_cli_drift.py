"""`pulumi stack drift`, as it comes, tells of the engine's drift runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.conftest import Cli
from tests.engine.files_program import make_files_repository
from tests.engine.harness import NO_INSTALL, Gate

pytestmark = pytest.mark.real


def test_drift_is_told(cli: Cli, cli_gate: Gate, tmp_path: Path) -> None:
    """`status` and `list` say nothing of a stack that nobody looked at, then what was found."""
    stack = ("--stack", cli.stack)
    unknown = cli.run("stack", "drift", "status", *stack)
    assert "unknown (drift detection has never run)" in unknown
    assert "No drift detection runs" in cli.run("stack", "drift", "list", *stack)
    repository = make_files_repository(tmp_path / "files", cli_gate)
    for operation in ("update", "detect-drift"):
        made = cli.api.create(cli.stack, repository, operation=operation, options=NO_INSTALL)
        assert cli.api.ended(cli.stack, made["id"])["status"] == "succeeded"
        (cli_gate.directory / f"{cli.stack.rpartition('/')[2]}.first").unlink(missing_ok=True)
    assert "Drift detected:    yes" in cli.run("stack", "drift", "status", *stack)
    listed = cli.json("stack", "drift", "list", *stack)
    (run,) = listed["driftRuns"]
    assert run["driftDetected"]
    assert run["detectUpdate"]["resourceChanges"]["delete"] == 1
    assert "│ yes" in cli.run("stack", "drift", "list", *stack)
