from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.api.oidc import AwsOidc, Oidc
from reconciler.api.types import (
    BasicAuth,
    DeploymentRequest,
    EnvironmentVariable,
    GitAuth,
    GitSource,
    Operation,
    Options,
)
from reconciler.model import SecretReference
from reconciler.planning.digest import changes, digest, fields

SECRET = SecretReference("fromEnv", "RECONCILER_SECRET_DB")
REQUEST: DeploymentRequest[SecretReference] = DeploymentRequest(
    source=GitSource(repo_url="../infra", branch="refs/heads/main", repo_dir="web"),
    executor_image="pulumi/pulumi:latest",
    image_credentials=BasicAuth(user_name="u", password=SECRET),
    pre_run_commands=("echo a", "echo b"),
    environment=(
        EnvironmentVariable(name="AWS_REGION", value="us-west-2"),
        EnvironmentVariable(name="DB_PASSWORD", value=SECRET),
        EnvironmentVariable(name="RECONCILER_RUN_abc_def_12345678", value="1"),
    ),
    skip_install_dependencies=True,
    oidc=Oidc(aws=AwsOidc(role_arn="arn", session_name="web")),
)
ENVIRONMENT = "operationContext.environmentVariables"


def with_shell(shell: str) -> Options:
    return Options(shell=shell)


def form(request: DeploymentRequest[SecretReference] = REQUEST) -> dict[str, str]:
    return fields(request, lambda reference: f"hash-of-{reference.name}")


def test_the_canonical_form() -> None:
    """The form has the spec's names; credentials, the marker and plain secrets are not in it."""
    assert form() == {
        "form": "1",
        "operation": "update",
        "sourceContext.git.repoUrl": "../infra",
        "sourceContext.git.branch": "main",
        "sourceContext.git.repoDir": "web",
        "executorContext.executorImage": "pulumi/pulumi:latest",
        "operationContext.preRunCommands[0]": "echo a",
        "operationContext.preRunCommands[1]": "echo b",
        f"{ENVIRONMENT}.AWS_REGION": "us-west-2",
        f"{ENVIRONMENT}.DB_PASSWORD": "secret:hash-of-RECONCILER_SECRET_DB",
        "operationContext.options.skipInstallDependencies": "true",
    }


def test_the_digest_is_known() -> None:
    """The digest is the same from release to release, or every stack would run again."""
    assert digest(form()) == "2cfbedaa0d4150626a15f3b3a9dc3240c52f22d78e7a9d4b29dc99d3962525c7"
    assert digest(form()) == digest(dict(reversed(form().items())))


@pytest.mark.parametrize(
    "change",
    [
        {"source": replace(REQUEST.source, branch="main")},
        {"source": replace(REQUEST.source, auth=GitAuth(access_token=SECRET))},
        {"image_credentials": None},
        {"oidc": Oidc()},
        {"environment": REQUEST.environment[:2]},
        {"options": Options(skip_intermediate=True, remediate_drift=True)},
        {"options": with_shell("bash")},
        {"options": Options(delete_after_destroy=True)},
    ],
    ids=[
        *("the branch's short name", "gitAuth", "the registry's", "OIDC", "the marker"),
        *("options that change nothing of the run", "the shell that would run anyway"),
        "what only a destroy does",
    ],
)
def test_what_is_no_change(change: dict[str, Any]) -> None:
    """Another way to write a branch, other credentials and a marker are no change."""
    assert form(replace(REQUEST, **change)) == form()


@pytest.mark.parametrize(
    "change",
    [
        {"operation": Operation.DESTROY},
        {"source": replace(REQUEST.source, branch="", tag="v1")},
        {"source": replace(REQUEST.source, repo_url="https://example.com/infra")},
        {"executor_image": ""},
        {"pre_run_commands": ("echo b", "echo a")},
        {"environment": REQUEST.environment[1:]},
        {"skip_install_dependencies": False},
        {"inherit_settings": True},
        {"options": with_shell("/bin/sh")},
    ],
)
def test_what_is_a_change(change: dict[str, Any]) -> None:
    """Whatever the deployment would do differently changes the digest."""
    assert digest(form(replace(REQUEST, **change))) != digest(form())


def test_an_option_that_does_nothing_here_is_no_change() -> None:
    """A shell without commands is none; what removes a destroyed stack counts for a destroy."""
    shell = replace(REQUEST, pre_run_commands=(), options=with_shell("/bin/sh"))
    assert form(shell) == form(replace(shell, options=Options()))
    destroy = replace(REQUEST, operation=Operation.DESTROY)
    deleting = replace(destroy, options=Options(delete_after_destroy=True))
    assert digest(form(deleting)) != digest(form(destroy))


def with_password(value: str) -> dict[str, str]:
    variable: EnvironmentVariable[SecretReference] = EnvironmentVariable(
        name="DB_PASSWORD", value=value
    )
    return form(replace(REQUEST, environment=(variable,)))


def test_a_plain_text_is_never_taken_for_a_secret() -> None:
    """A plain value that looks like a secret's hash stays another value, and is shown as it is."""
    field = f"{ENVIRONMENT}.DB_PASSWORD"
    secret = form()[field]
    one, other = with_password(secret), with_password(f"text:{secret}")
    assert len({secret, one[field], other[field]}) == 3
    assert changes(one, other) == (f"{field}: {secret} → text:{secret}",)


def test_changes_are_sentences() -> None:
    """Each field that differs is one sentence, in the order of the fields."""
    old = {"form": "1", "b": "us-west-2", "c": "x", "p[2]": "1", "p[10]": "1", "same": "y"}
    new = {"form": "2", "a": "", "b": "us-east-1", "p[2]": "2", "p[10]": "2", "same": "y"}
    assert changes(old, new) == (
        "a: added (empty)",
        "b: us-west-2 → us-east-1",
        "c: removed x",
        "p[2]: 1 → 2",
        "p[10]: 1 → 2",
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, {"x": "secret:1"}, "x: added (secret)"),
        ({"x": "secret:1"}, {}, "x: removed (secret)"),
        ({"x": "secret:1"}, {"x": "secret:2"}, "x: changed (secret)"),
        ({"x": "in the clear"}, {"x": "secret:2"}, "x: changed (secret)"),
        ({"x": "secret:1"}, {"x": "in the clear"}, "x: changed (secret)"),
    ],
)
def test_secrets_are_only_said_to_change(
    old: dict[str, str], new: dict[str, str], expected: str
) -> None:
    """Neither a secret's hash nor what stood in its place is shown."""
    assert changes(old, new) == (expected,)


def test_long_and_strange_values_stay_one_line() -> None:
    """A long value is cut, and what moves the cursor is written out."""
    (sentence,) = changes({"x": "a\nb\x1b[2J"}, {"x": "y" * 1000})
    assert sentence == f"x: a\\nb\\x1b[2J → {'y' * 80}…"
