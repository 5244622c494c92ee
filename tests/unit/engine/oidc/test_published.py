from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

from reconciler.api.oidc import AzureOidc, GcpOidc
from reconciler.engine.oidc.aws import AwsCredentials
from reconciler.engine.oidc.published import (
    TOKEN_VARIABLE,
    Published,
    for_aws,
    for_azure,
    for_gcp,
    merged,
)

TOKEN_FILE = Path("/w/oidc/token")
AWS = AwsCredentials(
    access_key_id="AKIA-canary",
    secret_access_key="secret-canary",
    session_token="session-canary",
    expires="2026-11-27T13:00:00Z",
)
AZURE = AzureOidc(client_id="c", tenant_id="t", subscription_id="s")
GCP = GcpOidc(
    project_id="123",
    workload_pool_id="pool",
    provider_id="provider",
    service_account="deploy@p.iam.gserviceaccount.com",
)


def test_aws() -> None:
    """AWS's three variables, each of them masked."""
    given = for_aws(AWS)
    assert given.variables == {
        "AWS_ACCESS_KEY_ID": "AKIA-canary",
        "AWS_SECRET_ACCESS_KEY": "secret-canary",
        "AWS_SESSION_TOKEN": "session-canary",
    }
    assert set(given.secrets) == set(given.variables.values())
    assert "canary" not in repr(given)
    assert "canary" not in repr(AWS)


def test_azure() -> None:
    """The token by value for Pulumi's providers, by file for Azure's libraries."""
    assert for_azure(AZURE, "token", TOKEN_FILE).variables == {
        "ARM_CLIENT_ID": "c",
        "ARM_TENANT_ID": "t",
        "ARM_SUBSCRIPTION_ID": "s",
        "ARM_USE_OIDC": "true",
        "ARM_OIDC_TOKEN": "token",
        "AZURE_CLIENT_ID": "c",
        "AZURE_TENANT_ID": "t",
        "AZURE_FEDERATED_TOKEN_FILE": "/w/oidc/token",
    }


def test_gcp() -> None:
    """An external account's configuration, as text and as a file; the token is not in it."""
    given = for_gcp(GCP, TOKEN_FILE)
    assert json.loads(given.variables["GOOGLE_CREDENTIALS"]) == {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/123/locations/global"
        "/workloadIdentityPools/pool/providers/provider",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "service_account_impersonation_url": "https://iamcredentials.googleapis.com/v1/projects"
        "/-/serviceAccounts/deploy@p.iam.gserviceaccount.com:generateAccessToken",
        "credential_source": {"file": "/w/oidc/token", "format": {"type": "text"}},
    }
    assert given.variables["GOOGLE_APPLICATION_CREDENTIALS"] == "/w/oidc/google.json"
    assert given.files == {"google.json": given.variables["GOOGLE_CREDENTIALS"]}
    assert given.hints == {"GOOGLE_PROJECT": "123", "GOOGLE_CLOUD_PROJECT": "123"}


def test_gcp_s_region_and_lifetime() -> None:
    """Region and lifetime are given on where they were asked for."""
    asked = GcpOidc(
        project_id="123",
        workload_pool_id="pool",
        provider_id="provider",
        service_account="a@b.c",
        region="europe-west3",
        token_lifetime=timedelta(minutes=30),
    )
    given = for_gcp(asked, TOKEN_FILE)
    assert json.loads(given.files["google.json"])["service_account_impersonation"] == {
        "token_lifetime_seconds": 1800
    }
    assert given.hints["GOOGLE_REGION"] == given.hints["CLOUDSDK_COMPUTE_REGION"] == "europe-west3"


def test_several_clouds() -> None:
    """What several clouds gave is there together."""
    parts = (for_aws(AWS), for_azure(AZURE, "token", TOKEN_FILE), for_gcp(GCP, TOKEN_FILE))
    whole = merged(*parts)
    assert len(whole.variables) == sum(len(part.variables) for part in parts)
    assert whole.secrets == parts[0].secrets


def test_the_documents_list_every_variable() -> None:
    """The table of docs/oidc.md has each variable that is given, with its cloud, and no other."""
    everything = GcpOidc(
        project_id="1",
        workload_pool_id="p",
        provider_id="q",
        service_account="a@b.c",
        region="r",
    )
    given = {
        "any": merged(Published(variables={TOKEN_VARIABLE: "token"})),
        "AWS": for_aws(AWS),
        "Azure": for_azure(AZURE, "token", TOKEN_FILE),
        "Google Cloud": for_gcp(everything, TOKEN_FILE),
    }
    expected = {(cloud, name) for cloud, g in given.items() for name in (*g.variables, *g.hints)}
    text = (Path(__file__).resolve().parents[4] / "docs/oidc.md").read_text()
    rows = re.findall(r"^\| ([A-Za-z ]+) \| `([A-Z_]+)` \|", text, re.MULTILINE)
    assert sorted(rows) == sorted(expected)
