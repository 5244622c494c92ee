"""The official Python client of today's API, as it comes, drives the engine.

Whatever it reads is compared with what was answered: nothing that its models need is missing,
and what they drop is known.
"""

from __future__ import annotations

import itertools
import json
import urllib.error
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pulumi_cloud_sdk import models
from pulumi_cloud_sdk._support import default_encoder
from pulumi_cloud_sdk.api_client import ApiClient
from pulumi_cloud_sdk.apis.deployments_api_ import DeploymentsApi
from pulumi_cloud_sdk.configuration import Configuration

from reconciler.engine.server import Engine
from reconciler.engine.tokens import Caller, Role
from tests.engine.harness import Api, Gate
from tests.waiting import eventually

pytestmark = pytest.mark.real

# What is said beyond the client's models: for the CLI, and our own additions.
ADDITIONS = {
    "ending",
    "operationContext.environmentVariables.REGION.value",
    "pausedStacks",
    "projectName",
    "stackName",
    "updates",
}
_names = itertools.count(1)


@dataclass(frozen=True)
class Sdk:
    """The client, and the stack that it calls."""

    client: ApiClient
    api: DeploymentsApi
    stack: str
    repository: Path

    def call(self, method: str, *arguments: object, **more: object) -> Any:
        """Call a method about the stack, and compare what it read with what was answered."""
        return self.compared(method, "acme", "web", self.stack, *arguments, **more)

    def compared(self, method: str, *arguments: object, **more: object) -> Any:
        read = getattr(self.api, method)(*arguments, **more)
        answered = json.loads(self.client.last_response or b"null")
        if read is not None and not isinstance(read, bytes):
            kept = default_encoder.sanitize_for_serialization(read)
            paths = {path.removeprefix("deployments[].") for path in dropped(answered, kept)}
            assert paths <= ADDITIONS
        return read

    def refused(self, method: str, *arguments: object) -> tuple[int, str]:
        """Return status and message of a call that must fail."""
        with pytest.raises(urllib.error.HTTPError) as caught:
            getattr(self.api, method)("acme", "web", self.stack, *arguments)
        with caught.value as answer:
            return answer.code, json.loads(answer.read())["message"]

    def source(self) -> models.SourceContextRequest:
        git = models.SourceContextGitRequest(
            repo_url=f"file://{self.repository}", branch="refs/heads/main"
        )
        return models.SourceContextRequest(git=git)

    def create(self, *commands: str, **more: object) -> str:
        """Create a deployment of the repository and return its id."""
        context = models.OperationContextRequest(
            pre_run_commands=list(commands),
            environment_variables={"KEY": models.SecretValue(secret="canary-sdk")},
            options=models.OperationContextOptionsRequest(skip_install_dependencies=True),
        )
        request = models.CreateDeploymentRequest(
            operation=models.PulumiOperation.Update,
            source_context=self.source(),
            operation_context=context,
            **more,
        )
        return str(self.call("create_api_deployment_handler_v2", request).id)

    def ended(self, deployment: str) -> Any:
        """Ask for a deployment until it has ended."""

        def look() -> Any:
            found = self.call("get_deployment", deployment)
            return found if str(found.status) in {"succeeded", "failed"} else None

        return eventually(look, f"{deployment} ends")


def dropped(answered: object, kept: object, at: str = "") -> Iterator[str]:
    """Yield the paths of what was answered and is not in what the client keeps of it."""
    if isinstance(answered, dict):
        for key, value in answered.items():
            path = f"{at}.{key}" if at else key
            if not isinstance(kept, dict) or kept.get(key) is None:
                # An empty value is as good as none.
                if value not in (None, "", [], {}, 0, False):
                    yield path
            else:
                yield from dropped(value, kept[key], path)
    elif isinstance(answered, list):
        assert isinstance(kept, list)
        assert len(kept) == len(answered)
        for one, other in zip(answered, kept, strict=True):
            yield from dropped(one, other, f"{at}[]")


@pytest.fixture(scope="session")
def sdk_client(cli_engine: Engine) -> ApiClient:
    """The client with a token of an administrator."""
    configuration = Configuration()
    configuration.host = cli_engine.url
    ann = Caller(organization="acme", user="ann", email="ann@example.com", role=Role.ADMIN)
    configuration.access_token = cli_engine.tokens.create(ann, None)
    return ApiClient(configuration)


@pytest.fixture
def sdk(sdk_client: ApiClient, project: Path) -> Sdk:
    """The client on a stack that no other test uses."""
    stack = f"sdk{next(_names)}"
    api = Api(sdk_client.configuration.host, sdk_client.configuration.access_token, "today")
    assert api.post("/api/stacks/acme/web", {"stackName": stack}).status_code == 200
    return Sdk(sdk_client, DeploymentsApi(sdk_client), stack, project)


def test_a_deployment_is_created_and_polled(sdk: Sdk) -> None:
    """Created, asked for until it has ended, by its id and by its version, with its update."""
    made = sdk.create("echo hello $KEY")
    found = sdk.ended(made)
    assert str(found.status) == "succeeded"
    assert (found.version, found.latest_version, found.requested_by.name) == (1, 1, "ann")
    assert str(found.pulumi_operation) == "update"
    assert [str(step.status) for step in found.jobs[0].steps] == ["succeeded"] * 4
    assert found.configuration.source.git.branch == "refs/heads/main"
    shown = {v.name: v for v in found.configuration.environment_variables}
    assert (shown["KEY"].secret, shown["KEY"].value) == (True, None)
    assert sdk.call("get_deployment_version", "1").id == made
    [update] = sdk.call("get_deployment_updates", made)
    assert (str(update.info.kind), str(update.info.result)) == ("update", "succeeded")
    assert sdk.refused("get_deployment", "nowhere")[0] == 404


def test_its_log_is_read_to_the_end(sdk: Sdk) -> None:
    """By continuation tokens while it runs, and step by step; both as the client's own types."""
    made = sdk.create("echo hello $KEY")
    lines: list[str] = []

    def read(token: str = "") -> str:
        page = sdk.call("get_deployment_logs", made, continuation_token=token)
        assert isinstance(page, models.DeploymentLogs)
        lines.extend(line.header or line.line for line in page.lines)
        return page.next_token or ""

    tokens = [read()]

    def all_read() -> bool:
        if tokens[-1]:
            tokens.append(read(tokens[-1]))
        return not tokens[-1]

    eventually(all_read, "the log ends")
    assert lines[0] == "Download deployment executor"
    assert "hello [secret]\n" in lines
    page = sdk.call("get_deployment_logs", made, step=2, count=10)
    assert isinstance(page, models.DeploymentLogsStep)
    assert [line.line for line in page.lines] == ["hello [secret]\n"]


def test_a_running_one_is_cancelled(sdk: Sdk, cli_gate: Gate) -> None:
    """A cancel ends it, and a second one finds nothing to cancel."""
    made = sdk.create(cli_gate.waits(sdk.stack))
    cli_gate.begun(sdk.stack)
    sdk.call("cancel_deployment", made)
    found = sdk.ended(made)
    assert str(found.status) == "failed"
    assert sdk.refused("cancel_deployment", made)[0] == 404


def test_deployments_are_listed(sdk: Sdk) -> None:
    """Of a stack and of its organization, the newest first or last, in pages."""
    sdk.call("pause_stack_deployments")
    made = [sdk.create() for _ in range(3)]
    page = sdk.call("list_stack_deployments_handler_v2", page_size=2)
    assert [d.id for d in page.deployments] == [made[2], made[1]]
    assert (page.total, page.items_per_page) == (3, 2)
    page = sdk.call("list_stack_deployments_handler_v2", asc=True, sort="version")
    assert [d.version for d in page.deployments] == [1, 2, 3]
    page = sdk.compared("list_org_deployments", "acme", page_size=100)
    assert set(made) <= {d.id for d in page.deployments}
    for one in made:
        sdk.call("cancel_deployment", one)


def test_settings_are_set_read_and_inherited(sdk: Sdk) -> None:
    """What the client writes it reads again, but for secrets; a create may leave all to them."""
    context = models.OperationContextRequest(
        environment_variables={
            "REGION": models.SecretValue(secret="", plaintext="eu"),
            "KEY": models.SecretValue(secret="canary-sdk"),
        },
        options=models.OperationContextOptionsRequest(skip_install_dependencies=True),
    )
    request = models.DeploymentSettingsRequest(
        source_context=sdk.source(), operation_context=context
    )
    assert sdk.refused("get_deployment_settings")[0] == 404
    sdk.call("replace_deployment_settings", request)
    found = sdk.call("get_deployment_settings")
    assert found.version == 1
    variables = found.operation_context.environment_variables
    assert (variables["REGION"].plaintext, variables["REGION"].secret) == ("eu", "")
    assert variables["KEY"].ciphertext
    assert not variables["KEY"].secret
    # What was read is given back as it is, with one more.
    sealed = sdk.call("encrypt_deployment_settings_secret", models.SecretValue(secret="canary"))
    context.environment_variables = {**variables, "SEALED": sealed}
    sdk.call("patch_deployment_settings", request)
    create = models.CreateDeploymentRequest(
        operation=models.PulumiOperation.Preview, inherit_settings=True
    )
    made = sdk.call("create_api_deployment_handler_v2", create).id
    found = sdk.ended(made)
    assert str(found.status) == "succeeded"
    shown = {v.name: (v.value, v.secret) for v in found.configuration.environment_variables}
    assert shown["REGION"] == ("eu", False)
    assert shown["KEY"] == shown["SEALED"] == (None, True)
    sdk.call("delete_deployment_settings")
    assert sdk.refused("get_deployment_settings")[0] == 404


def test_a_stack_is_paused_and_resumed(sdk: Sdk) -> None:
    """While it is paused its deployments wait, and its metadata say so."""
    sdk.call("pause_stack_deployments")
    made = sdk.create()
    metadata = sdk.call("stack_deployments_metadata")
    assert (metadata.paused, metadata.stack_paused) == (True, True)
    assert str(sdk.call("get_deployment", made).status) == "not-started"
    counts = sdk.compared("org_deployments_metadata", "acme").deployment_counts
    assert counts.not_started >= 1
    sdk.call("resume_stack_deployments")
    assert str(sdk.ended(made).status) == "succeeded"
    assert not sdk.call("stack_deployments_metadata").paused


def test_schedules_are_made_changed_and_removed(sdk: Sdk) -> None:
    """By cron and once, of drift and of the end; paused, resumed, listed and deleted."""
    settings = models.DeploymentSettingsRequest(source_context=sdk.source())
    sdk.call("replace_deployment_settings", settings)
    update = models.CreateDeploymentRequest(
        operation=models.PulumiOperation.Update, inherit_settings=True
    )
    request = models.CreateScheduledDeploymentRequest(schedule_cron="0 3 * * *", request=update)
    nightly = sdk.call("create_scheduled_deployment", request)
    assert nightly.schedule_cron == "0 3 * * *"
    once = models.CreateScheduledDeploymentRequest(
        schedule_once=datetime(2999, 1, 1, tzinfo=UTC), request=update
    )
    sdk.call("create_scheduled_deployment", once)
    drift = models.CreateScheduledDriftDeploymentRequest(schedule_cron="0 4 * * *")
    sdk.call("create_scheduled_drift_deployment", drift)
    end = models.CreateScheduledTTLDeploymentRequest(timestamp=datetime(2999, 2, 1, tzinfo=UTC))
    sdk.call("create_scheduled_ttl_deployment", end)
    sdk.call("pause_scheduled_deployment", nightly.id)
    assert sdk.call("read_scheduled_deployment", nightly.id).paused
    sdk.call("resume_scheduled_deployment", nightly.id)
    listed = sdk.call("list_scheduled_deployment").schedules
    assert len(listed) == 4
    assert sdk.call("list_scheduled_deployment_history", nightly.id).schedule_history_events == []
    for schedule in listed:
        sdk.call("delete_scheduled_deployment", schedule.id)
    assert sdk.call("list_scheduled_deployment").schedules == []
