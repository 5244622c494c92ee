from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.api.oidc import AwsOidc, AzureOidc, GcpOidc, Oidc
from reconciler.api.oidc_body import oidc_to_json, read_oidc
from reconciler.api.wire import Reader, pointer_text

AT = ("operationContext", "oidc")

AWS = {
    "roleArn": "arn:aws:iam::123456789012:role/deploy",
    "sessionName": "web-${deployment.version}",
    "duration": "1h0m0s",
    "policyArns": ["arn:aws:iam::aws:policy/ReadOnlyAccess"],
}
AZURE = {"clientId": "c-1", "tenantId": "t-1", "subscriptionId": "s-1"}
GCP = {
    "projectId": "123456789012",
    "workloadPoolId": "pulumi-pool",
    "providerId": "pulumi-provider",
    "serviceAccount": "deploy@my-project.iam.gserviceaccount.com",
    "region": "europe-west3",
    "tokenLifetime": "30m0s",
}


def read(value: object) -> tuple[Oidc, dict[str, str]]:
    reader = Reader()
    oidc = read_oidc(reader, value, AT)
    return oidc, {pointer_text(f.pointer): f.message for f in reader.faults}


def test_all_three_clouds_at_once() -> None:
    """What is said of each cloud is read as values, and written the same."""
    body = {"aws": AWS, "azure": AZURE, "gcp": GCP}
    oidc, faults = read(body)
    assert faults == {}
    assert oidc.asked
    assert oidc.aws is not None
    assert oidc.aws.duration == timedelta(hours=1)
    assert oidc.gcp is not None
    assert oidc.gcp.token_lifetime == timedelta(minutes=30)
    assert oidc_to_json(oidc) == body


@pytest.mark.parametrize("nothing", [None, {}, {"aws": None, "gcp": None}, {"other": 1}])
def test_nothing_asked(nothing: object) -> None:
    """An absent part, an empty one and clouds that are null ask for nothing."""
    oidc, faults = read(nothing)
    assert faults == {}
    assert not oidc.asked
    assert oidc_to_json(oidc) == {}


@pytest.mark.parametrize(
    ("cloud", "field"),
    [("aws", f) for f in ("roleArn", "sessionName")]
    + [("azure", f) for f in AZURE]
    + [("gcp", f) for f in ("projectId", "workloadPoolId", "providerId", "serviceAccount")],
)
def test_what_is_required(cloud: str, field: str) -> None:
    """A field that a cloud needs is named by its path where it is missing or empty."""
    whole: dict[str, dict[str, Any]] = {"aws": AWS, "azure": AZURE, "gcp": GCP}
    without = {k: v for k, v in whole[cloud].items() if k != field}
    for given_ in (without, without | {field: ""}, without | {field: None}):
        assert read({cloud: given_})[1] == {f"operationContext.oidc.{cloud}.{field}": "is required"}
    assert len(read({cloud: {}})[1]) >= 2


@pytest.mark.parametrize(
    ("cloud", "field", "value", "words"),
    [
        ("aws", "roleArn", "deploy", "no role's ARN"),
        ("aws", "roleArn", "arn:aws:iam::123456789012:user/ann", "no role's ARN"),
        ("aws", "roleArn", "arn:aws:iam::123456789012:role/a\nb", "no role's ARN"),
        ("aws", "sessionName", "two words", "2 to 64"),
        ("aws", "sessionName", "x", "2 to 64"),
        ("aws", "sessionName", "x" * 65, "64"),
        ("aws", "sessionName", "${stack.owner}", "${stack.owner}"),
        ("aws", "duration", "10m", "15m0s to 12h0m0s"),
        ("aws", "duration", "13h", "15m0s to 12h0m0s"),
        ("aws", "duration", "soon", "no duration, such as 1h30m0s"),
        ("aws", "duration", "-1h", "no duration"),
        ("aws", "duration", 3600, "a number"),
        ("aws", "policyArns", "arn", "a list of strings"),
        ("aws", "policyArns", ["arn:aws:iam::aws:policy/x"] * 11, "at most 10"),
        ("azure", "clientId", "a b", "no identifier"),
        ("azure", "tenantId", "../x", "no identifier"),
        ("gcp", "projectId", "my-project", "number"),
        ("gcp", "workloadPoolId", "a/b", "no identifier"),
        ("gcp", "serviceAccount", "deploy", "no service account"),
        ("gcp", "serviceAccount", "a@b/../c", "no service account"),
        ("gcp", "region", "x y", "no identifier"),
        ("gcp", "tokenLifetime", "5m", "10m0s to 12h0m0s"),
    ],
)
def test_what_is_refused(cloud: str, field: str, value: object, words: str) -> None:
    """What a cloud would refuse is refused before anything waits for it, by its path."""
    whole: dict[str, dict[str, Any]] = {"aws": AWS, "azure": AZURE, "gcp": GCP}
    faults = read({cloud: whole[cloud] | {field: value}})[1]
    assert list(faults) == [f"operationContext.oidc.{cloud}.{field}"]
    assert words in next(iter(faults.values()))


def test_a_policy_that_is_none_is_named_by_its_index() -> None:
    """Each policy is checked by itself."""
    faults = read({"aws": AWS | {"policyArns": [*AWS["policyArns"], "x"]}})[1]
    assert list(faults) == ["operationContext.oidc.aws.policyArns[1]"]


def test_a_cloud_must_be_an_object() -> None:
    """A text in the place of a cloud is told by its path."""
    assert "operationContext.oidc.aws" in read({"aws": "role"})[1]
    assert read("aws")[1] == {"operationContext.oidc": "is a string; an object belongs here"}


@given(st.integers(15 * 60, 12 * 3600))
def test_any_duration_is_read_as_it_is_written(seconds: int) -> None:
    """A duration in Go's form comes back the same."""
    asked = AwsOidc(
        role_arn=str(AWS["roleArn"]), session_name="web", duration=timedelta(seconds=seconds)
    )
    assert read(oidc_to_json(Oidc(aws=asked))) == (Oidc(aws=asked), {})


@pytest.mark.parametrize(
    ("text", "minutes"), [("90m", 90), ("1.5h", 90), ("1h30m", 90), ("5400s", 90), ("0", 0)]
)
def test_go_s_ways_to_write_a_duration(text: str, minutes: int) -> None:
    """All of Go's ways to write one are read; a zero is the cloud's own default."""
    oidc, faults = read({"aws": AWS | {"duration": text}})
    assert faults == {}
    assert oidc.aws is not None
    assert oidc.aws.duration == timedelta(minutes=minutes)


def test_values_are_equal_by_what_they_say() -> None:
    """The values are plain ones: no cloud asked for is the same as none."""
    assert Oidc() == Oidc(aws=None, azure=None, gcp=None)
    assert Oidc(
        azure=AzureOidc(client_id="c", tenant_id="t", subscription_id="s"),
        gcp=GcpOidc(project_id="1", workload_pool_id="p", provider_id="q", service_account="a@b.c"),
    ).asked
