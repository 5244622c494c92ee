from __future__ import annotations

import base64
import random
import re
import string
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.api.oidc import AzureOidc, Oidc
from reconciler.api.types import (
    BasicAuth,
    DeploymentRequest,
    EnvironmentVariable,
    GitAuth,
    GitSource,
    Secret,
    ShownVariable,
    SshAuth,
)
from reconciler.engine.validation import (
    LARGEST_ENVIRONMENT_BYTES,
    LONGEST_VALUE_BYTES,
    MOST_COMMANDS,
    MOST_MASKED_LINES,
    SHORTEST_RANDOM,
    TERMS_ANYWHERE,
    TERMS_AS_LAST_WORD,
    TERMS_ENDING_A_WORD,
    Accepted,
    Policy,
    Refusal,
    Reserved,
    check,
    looks_secret,
    secret_values,
    shown_environment,
)
from reconciler.git.urls import Reach

POLICY = Policy()
RESERVED = Reserved(
    id="d1", version=34, build_url="http://engine/build", backend_url="file:///data/acme"
)
SOURCE: GitSource[Secret] = GitSource(repo_url="https://example.com/r.git", branch="main")


OIDC = Oidc(azure=AzureOidc(client_id="c", tenant_id="t", subscription_id="s"))


def make_request(**environment: Secret | str) -> DeploymentRequest[Secret]:
    return DeploymentRequest(
        source=SOURCE,
        environment=tuple(
            EnvironmentVariable(name=name, value=value)
            for name, value in sorted(environment.items())
        ),
    )


def accepted(request: DeploymentRequest[Secret]) -> Accepted:
    answer = check(request, POLICY)
    assert isinstance(answer, Accepted)
    return answer


@pytest.mark.parametrize(
    ("name", "value"),
    [
        # the three that the API's own example hides
        ("AWS_ACCESS_KEY_ID", "$AWS_ACCESS_KEY_ID"),
        ("AWS_SECRET_ACCESS_KEY", "$AWS_SECRET_ACCESS_KEY"),
        ("AWS_SESSION_TOKEN", "$AWS_SESSION_TOKEN"),
        ("MY_PASSWORD", "x"),
        ("DBPASSWORD", "x"),
        ("github_token", "x"),
        ("GITHUBTOKEN2", "x"),
        ("CLIENT_SECRET", ""),
        ("TLS_PRIVATE_KEY", "x"),
        ("DATADOG_API_KEY", "x"),
        ("SSH_KEY", "x"),
        ("GOOGLE_CREDENTIALS", "{}"),
        ("PULUMI_CONFIG_PASSPHRASE", "x"),
        ("PULUMI_ACCESS_TOKEN", "x"),
        ("DATABASE_URL", "postgres://user:hunter2@db/x"),
        ("ANY", "-----BEGIN RSA PRIVATE KEY-----\nMII"),
        ("ANY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        ("ANY", "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abc"),
    ],
)
def test_secrets_are_recognised(name: str, value: str) -> None:
    """A key term in the name, or a value far more random than a UUID, makes a secret."""
    assert looks_secret(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_REGION", "us-west-2"),
        ("CUSTOM_VARIABLE", "foo"),
        ("POETRY_HOME", "/usr/local"),
        ("NVM_DIR", "/usr/local/bin"),
        ("NODE_VERSION", "17"),
        ("PULUMI_CI_BUILD_ID", "9e5e1331-a018-4845-8714-1598ba8dc52e"),
        ("BUILD", "9e5e1331-a018-4845-8714-1598ba8dc52e"),
        ("COMMIT", "2a81a52002162c188927025df3fc8fe67a8c593e"),
        ("DIGEST", "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
        ("ROLE", "arn:aws:iam::123456789000:role/pulumi-deploy-role"),
        ("REPO", "https://github.com/Acme/Infrastructure-2024/tree/main/Some/Path/Here"),
        ("IMAGE", "registry.example.com/team/project/service-name:v1.2.3-rc4"),
        ("TEXT", "The quick brown fox jumps over the lazy dog 12 times"),
        ("NAME", "MyCompany-Production-EuWest1-Cluster"),
        ("FILES", "apps/Project1/Environment/Production2"),
        ("TOKENIZER", "fast"),
        ("KEYBOARD", "us"),
        ("AUTHOR", "ann"),
        ("KEY_NAME", "main"),
        ("COMPASS", "north"),
        ("ANY", "$AWS_ACCESS_KEY_ID"),
        ("EMPTY", ""),
    ],
)
def test_ordinary_values_are_not_hidden(name: str, value: str) -> None:
    """Names, paths, hashes, UUIDs and sentences are shown as they are."""
    assert not looks_secret(name, value)


@pytest.mark.parametrize("length", [32, 40, 64, 88])
def test_random_values_are_recognised_by_entropy(length: int) -> None:
    """Of 500 random values of letters and digits nearly all are taken for secrets."""
    dice = random.Random(length)
    letters = string.ascii_letters + string.digits
    values = ["".join(dice.choices(letters, k=length)) for _ in range(500)]
    assert sum(looks_secret("ANY", value) for value in values) > 400


def test_random_bytes_in_base64_are_recognised() -> None:
    """A key of 32 random bytes in base64 is a secret, whatever the variable is called."""
    dice = random.Random(1)
    values = [base64.b64encode(dice.randbytes(32)).decode() for _ in range(300)]
    assert sum(looks_secret("ANY", value) for value in values) > 290


def test_a_plain_value_that_looks_secret_becomes_one() -> None:
    """A value that looks secret is treated as one from then on; others stay as they are."""
    request = accepted(make_request(AWS_REGION="us-west-2", AWS_SESSION_TOKEN="abc")).request
    assert {v.name: v.value for v in request.environment} == {
        "AWS_REGION": "us-west-2",
        "AWS_SESSION_TOKEN": Secret("abc"),
    }


def test_the_marker_is_told_and_never_hidden() -> None:
    """The marker is found by its prefix; its name and value are no secrets."""
    name = "RECONCILER_RUN_owner1_0123456789abcdef_TOKEN"
    answer = accepted(make_request(**{name: "1"}))
    assert answer.marker == name
    assert answer.request.environment[0].value == "1"
    assert accepted(make_request()).marker == ""


def test_shown_variables_are_the_api_s() -> None:
    """A GET lists the request's variables and the engine's own, but for the build URL."""
    request = accepted(
        make_request(
            AWS_REGION="us-west-2", S=Secret("x"), PULUMI_CI_SYSTEM="mine", PULUMI_CI_BUILD_URL="m"
        )
    ).request
    assert shown_environment(request, RESERVED) == (
        ShownVariable(name="AWS_REGION", value="us-west-2"),
        ShownVariable(name="PULUMI_ACCESS_TOKEN", secret=True),
        ShownVariable(name="PULUMI_BACKEND_URL", value="file:///data/acme"),
        ShownVariable(name="PULUMI_CI_BUILD_ID", value="d1"),
        ShownVariable(name="PULUMI_CI_BUILD_NUMBER", value="34"),
        ShownVariable(name="PULUMI_CI_SYSTEM", value="Pulumi Deploy"),
        ShownVariable(name="S", secret=True),
    )


def test_all_secret_values_are_known() -> None:
    """Every secret of the request is masked: variables and each kind of git credentials."""
    request = make_request(A=Secret("one"), B="plain", C=Secret(""))
    assert secret_values(request) == ("one",)
    basic: GitAuth[Secret] = GitAuth(
        basic=BasicAuth(user_name=Secret("two"), password=Secret("three"))
    )
    ssh: GitAuth[Secret] = GitAuth(ssh=SshAuth(private_key=Secret("four"), password=Secret("five")))
    token: GitAuth[Secret] = GitAuth(access_token=Secret("six"))
    found = {
        value
        for auth in (basic, ssh, token)
        for value in secret_values(replace(request, source=replace(SOURCE, auth=auth)))
    }
    assert found == {"one", "two", "three", "four", "five", "six"}


def test_parts_of_a_secret_are_secrets() -> None:
    """The password in a secret URL is masked by itself, and what opens a registry is."""
    image: BasicAuth[Secret] = BasicAuth(user_name=Secret("robot"), password=Secret("pw"))
    url = Secret("postgres://ann:hunter%2F2@db/x")
    request = replace(make_request(URL=url), image_credentials=image)
    assert secret_values(request) == (url.value, "hunter%2F2", "hunter/2", "robot", "pw")


def test_secrets_have_no_more_lines_than_can_be_masked() -> None:
    """Many lines of secrets, in one or in several, are refused; the same in the clear is not."""
    lines = "\n".join(map(str, range(MOST_MASKED_LINES)))
    answer = check(make_request(A=Secret(lines)), POLICY)
    assert isinstance(answer, Accepted)
    too_many = {"two": {"A": Secret(lines), "B": Secret("b")}, "one": {"A_KEY": f"{lines}\nb"}}
    for request in (make_request(**variables) for variables in too_many.values()):  # type: ignore[arg-type]
        answer = check(request, POLICY)
        assert isinstance(answer, Refusal)
        assert f"have {MOST_MASKED_LINES + 1} lines in all" in answer.message
    accepted(make_request(A=lines, B="\n".join(map(str, range(20_000)))))


def test_a_plain_user_name_is_no_secret() -> None:
    """A user name that was given in the clear is not masked."""
    auth: GitAuth[Secret] = GitAuth(basic=BasicAuth(user_name="ann", password=Secret("pw")))
    assert secret_values(replace(make_request(), source=replace(SOURCE, auth=auth))) == ("pw",)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (
            replace(make_request(), executor_image="--privileged"),
            ["executorContext.executorImage", "is not an image's name", "latest"],
        ),
        (replace(make_request(), oidc=OIDC), ["operationContext.oidc", "--public-url"]),
        (
            replace(
                make_request(),
                source=replace(
                    SOURCE,
                    repo_url="https://example.com:8443/r.git",
                    auth=GitAuth(ssh=SshAuth(private_key=Secret("canary"))),
                ),
            ),
            ["sourceContext.git.repoURL", "sshAuth", "accessToken"],
        ),
        (
            replace(make_request(), source=replace(SOURCE, repo_url="file:///srv/r.git")),
            ["sourceContext.git.repoURL", "file://"],
        ),
        (
            replace(make_request(), pre_run_commands=("ok", " ")),
            ["operationContext.preRunCommands[1]", "empty"],
        ),
        (
            replace(make_request(), pre_run_commands=("x",) * (MOST_COMMANDS + 1)),
            ["operationContext.preRunCommands", str(MOST_COMMANDS)],
        ),
        (
            replace(make_request(), pre_run_commands=("x" * (LONGEST_VALUE_BYTES + 1),)),
            ["operationContext.preRunCommands[0]", "longer"],
        ),
        (
            make_request(A="x" * LONGEST_VALUE_BYTES),
            ["operationContext.environmentVariables.A", "longer"],
        ),
        (
            make_request(**{f"A{n}": "x" * 100_000 for n in range(11)}),
            ["operationContext.environmentVariables", str(LARGEST_ENVIRONMENT_BYTES)],
        ),
        (
            make_request(RECONCILER_RUN_a_b_c="1", RECONCILER_RUN_a_d_c="1"),
            ["RECONCILER_RUN_a_b_c", "RECONCILER_RUN_a_d_c"],
        ),
    ],
)
def test_refusals_name_the_field_and_the_way_out(
    request_: DeploymentRequest[Secret], words: list[str]
) -> None:
    """What this engine cannot run is refused with the field's path and what to do."""
    answer = check(request_, POLICY)
    assert isinstance(answer, Refusal)
    for word in words:
        assert word in answer.message
    assert "canary" not in answer.message


def test_an_image_is_refused_where_the_engine_takes_none() -> None:
    """The reason is the engine's own; where it has none, the image is accepted."""
    request = replace(make_request(), executor_image="pulumi/pulumi-nodejs:latest")
    assert isinstance(check(request, POLICY), Accepted)
    answer = check(request, Policy(refuse_images="nothing here can"))
    assert isinstance(answer, Refusal)
    assert answer.message == "executorContext.executorImage: nothing here can"


def test_local_repositories_are_for_engines_that_allow_them() -> None:
    """A file:// source is accepted where the engine serves its own machine."""
    request = replace(make_request(), source=replace(SOURCE, repo_url="file:///srv/r.git"))
    assert isinstance(check(request, Policy(reach=Reach(local=True))), Accepted)


def test_an_issuer_takes_oidc() -> None:
    """An engine that clouds can know accepts a request for their credentials."""
    policy = Policy(issues_tokens=True)
    assert isinstance(check(replace(make_request(), oidc=OIDC), policy), Accepted)


def test_the_table_of_what_looks_secret_is_true() -> None:
    """The terms of docs/secrets.md are the ones looked for, and its examples are what it says."""
    text = (Path(__file__).resolve().parents[3] / "docs/secrets.md").read_text()
    table = text[text.index("| looks like a secret") :].split("\n\n")[0].splitlines()[2:]
    rows = [[re.findall("`([^`]+)`", cell) for cell in line.split("|")[2:5]] for line in table]
    terms = [tuple(row[0]) for row in rows]
    assert terms[:3] == [TERMS_ANYWHERE, TERMS_ENDING_A_WORD, TERMS_AS_LAST_WORD]
    assert f"| {SHORTEST_RANDOM} or more letters" in table[-1]
    for _, secret, shown in rows:
        assert secret
        assert shown
        assert [e for e in secret if not looks_secret(*e.split("=", 1))] == []
        assert [e for e in shown if looks_secret(*e.split("=", 1))] == []
    for term in (*terms[0], *terms[1], *terms[2]):
        assert looks_secret(f"MY_{term}", "x")
