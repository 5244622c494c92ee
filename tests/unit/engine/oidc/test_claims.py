from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.api.oidc import AwsOidc, GcpOidc, Oidc
from reconciler.api.types import Operation, StackRef
from reconciler.engine.oidc.claims import Deployed, claims, lifetime, session_name, subject

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
ID = "806bf21f-444f-4825-a80c-afd12cd2526a"


def deployed(organization: str = "acme", project: str = "web", stack: str = "dev") -> Deployed:
    return Deployed(
        stack=StackRef(organization, project, stack),
        operation=Operation.UPDATE,
        version=7,
        id=ID,
    )


def test_the_claims_are_those_that_pulumi_documents() -> None:
    """Names and forms are Pulumi's, so that a trust policy needs another issuer only."""
    said = claims("https://e.example/oidc", deployed(), NOW, timedelta(hours=1), "t1")
    begin = int(NOW.timestamp())
    assert said == {
        "iss": "https://e.example/oidc",
        "aud": "acme",
        "sub": "pulumi:deploy:org:acme:project:web:stack:dev:operation:update:scope:write",
        "iat": begin,
        "nbf": begin,
        "exp": begin + 3600,
        "jti": "t1",
        "org": "acme",
        "project": "web",
        "stack": "dev",
        "stackId": "acme/web/dev",
        "operation": "update",
        "deployment": "7",
        "deploymentId": ID,
        "scope": "write",
    }
    assert said["sub"] == subject(deployed())


def aws(hours: float) -> AwsOidc:
    return AwsOidc(role_arn="arn", session_name="s", duration=timedelta(hours=hours))


def gcp(hours: float) -> GcpOidc:
    return GcpOidc(
        project_id="1",
        workload_pool_id="p",
        provider_id="q",
        service_account="a@b.c",
        token_lifetime=timedelta(hours=hours),
    )


@pytest.mark.parametrize(
    ("oidc", "hours"),
    [
        (Oidc(), 1),
        (Oidc(aws=aws(0.5)), 1),
        (Oidc(aws=aws(3)), 3),
        (Oidc(aws=aws(3), gcp=gcp(5)), 5),
        (Oidc(gcp=gcp(100)), 12),
    ],
)
def test_a_token_lives_as_long_as_the_longest_session(oidc: Oidc, hours: int) -> None:
    """A token lives for the longest session asked for, at least 1 h and at most 12."""
    assert lifetime(oidc) == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("web", "web"),
        ("pulumi-${deployment.version}", "pulumi-7"),
        ("${organization.name}.${project.name}.${stack.name}", "acme.web.dev"),
        ("${deployment.operation}=${operation}", "update=update"),
    ],
)
def test_places_of_a_session_name(template: str, filled: str) -> None:
    """Each place becomes what it stands for."""
    assert session_name(template, deployed()) == filled


def test_a_long_session_name_keeps_what_finds_the_run() -> None:
    """Names are cut so that 64 letters do; the id stays whole (the example of Pulumi's own)."""
    template = "${organization.name}-${project.name}-${stack.name}-${deployment.id}"
    about = deployed("pulumi-local", "test-nocode-rtct-3", "dev")
    assert session_name(template, about) == f"pulumi-loca-test-nocode-dev-{ID}"


@given(
    st.text("abc-", max_size=80),
    st.lists(
        st.sampled_from(["organization.name", "project.name", "deployment.id", "stack.name"]),
        max_size=4,
    ),
)
def test_a_session_name_is_never_too_long(text: str, places: list[str]) -> None:
    """Whatever the template, AWS takes its length."""
    template = text + "".join(f"${{{place}}}" for place in places)
    assert len(session_name(template, deployed("a" * 90, "b" * 90, "c" * 90))) <= 64
