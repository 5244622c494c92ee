"""Runs schemathesis over a document, against an engine that starts no deployments."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.engine import server
from reconciler.engine.config import EngineConfig
from reconciler.engine.tokens import Caller, Role
from tests.engine.harness import Api

__all__ = ["Target", "run", "target"]

STACK = "acme/web/dev"
# Random requests to each operation, beside those at the borders of what it takes.
EXAMPLES = 2

# A whole run takes a minute of processor time; the limit is for a machine under load.
LIMIT_S = 1500

# What a schema cannot say of these bodies: which URLs and refs git takes, that one revision
# excludes the others, that settings fill in what is left out, which cron lines and times are
# any. A body that fits the schema may therefore be refused; that one that does not is refused
# is checked for them too.
RULES_BEYOND_THE_SCHEMA = (
    "CreateAPIDeploymentHandlerV2",
    "CreateAPIDeploymentHandlerV2Preview",
    "ReplaceDeploymentSettings",
    "PatchDeploymentSettings",
    "CreateScheduledDeployment",
    "UpdateScheduledDeployment",
    "CreateScheduledDriftDeployment",
    "UpdateScheduledDriftDeployment",
    "CreateScheduledTTLDeployment",
    "UpdateScheduledTTLDeployment",
)

CONFIG = """\
base-url = "{url}"
headers = {{ Authorization = "token {token}", Accept = "application/json" }}
continue-on-failure = true

[parameters]
"path.orgName" = "acme"
"path.projectName" = "web"
"path.stackName" = "dev"
"path.deploymentId" = "{deployment}"
"path.version" = 1

[generation]
deterministic = true
max-examples = {examples}
no-shrink = true

[phases.stateful]
enabled = false

[phases.coverage]
unexpected-methods = ["DELETE", "PATCH", "TRACE"]

[output.sanitization]
enabled = false

# It goes on for as long as its deployment does; tests/engine/test_log_stream.py calls it.
[[operations]]
include-operation-id = "StreamDeploymentLogs"
enabled = false

[[operations]]
include-operation-id = {rules}
checks.positive_data_acceptance.enabled = false
"""


@dataclass(frozen=True, slots=True)
class Target:
    """An engine, a token of its administrator, and the id of a deployment of STACK."""

    url: str
    token: str
    deployment: str


@contextmanager
def target(data: Path) -> Iterator[Target]:
    """Give an engine with a stack that has settings, so that a create may leave all out."""
    # The runs present thousands of wrong tokens.
    config = EngineConfig(data=data, port=0, workers=0, failed_logins=1_000_000)
    with server.running(config) as engine:
        ann = Caller(organization="acme", user="ann", email="", role=Role.ADMIN)
        token = engine.tokens.create(ann, None)
        api = Api(engine.url, token, "today")
        source = {"git": {"repoUrl": "https://example.com/r.git", "branch": "main"}}
        path = f"{engine.url}{api.path(STACK)}"
        answer = api.session.put(f"{path}/settings", json={"sourceContext": source}, timeout=60)
        assert answer.status_code == 200, answer.text
        made = api.post(api.path(STACK), {"operation": "update"}).json()
        yield Target(engine.url, token, made["id"])


def run(target: Target, document: object, place: Path, without: str = "") -> dict[str, Any]:
    """Run all checks (or all but one) over a document and return the report.

    An assertion fails with all that was found.
    """
    examples = os.environ.get("OPENAPI_EXAMPLES") or EXAMPLES
    place.mkdir(parents=True, exist_ok=True)
    (place / "document.json").write_text(json.dumps(document))
    (place / "schemathesis.toml").write_text(
        CONFIG.format(
            url=target.url,
            token=target.token,
            deployment=target.deployment,
            examples=examples,
            rules=json.dumps(RULES_BEYOND_THE_SCHEMA),
        )
    )
    report = place / "report.json"
    answer = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--no-color"),
            *("--config-file", "schemathesis.toml", "run", "document.json"),
            *("--report", "json", "--report-json-path", str(report)),
            *(("--exclude-checks", without) if without else ()),
        ],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert report.exists(), answer.stdout + answer.stderr
    found: dict[str, Any] = json.loads(report.read_bytes())
    assert (found["failures"], answer.returncode) == ([], 0), answer.stdout[-20_000:]
    assert found["complete"]
    return found
