"""The variables and files by which a deployed program uses what the clouds gave. Pure.

`docs/oidc.md` has them as a table, which a test compares with what is written here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.api.oidc import AzureOidc, GcpOidc
from reconciler.engine.oidc.aws import AwsCredentials

__all__ = ["TOKEN_FILE", "TOKEN_VARIABLE", "Published", "for_aws", "for_azure", "for_gcp", "merged"]

# Their names: every deployment of an issuer has them.
TOKEN_VARIABLE = "PULUMI_OIDC_TOKEN"  # noqa: S105 - a name
TOKEN_FILE = "token"  # noqa: S105 - the same

# What Google's libraries exchange a token by, on their own, whenever they need to.
_GOOGLE_TOKEN_URL = "https://sts.googleapis.com/v1/token"  # noqa: S105 - an address
_GOOGLE_IAM = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts"
GOOGLE_FILE = "google.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What is given to the programs of a deployment.

    `variables` are over those of the request; `hints` only where it says nothing. `files` are
    by their names in the directory of the token. `secrets` are to be masked.
    """

    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    hints: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


def merged(*parts: Published) -> Published:
    """Return everything together."""
    variables: dict[str, str] = {}
    hints: dict[str, str] = {}
    files: dict[str, str] = {}
    for part in parts:
        variables |= part.variables
        hints |= part.hints
        files |= part.files
    secrets = tuple(secret for part in parts for secret in part.secrets)
    return Published(variables=variables, hints=hints, files=files, secrets=secrets)


def for_aws(credentials: AwsCredentials) -> Published:
    """Return what AWS's libraries read."""
    variables = {
        "AWS_ACCESS_KEY_ID": credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_access_key,
        "AWS_SESSION_TOKEN": credentials.session_token,
    }
    return Published(variables=variables, secrets=tuple(variables.values()))


def for_azure(azure: AzureOidc, token: str, token_file: Path) -> Published:
    """Return what Pulumi's Azure providers (`ARM_…`) and Azure's libraries (`AZURE_…`) read."""
    return Published(
        variables={
            "ARM_CLIENT_ID": azure.client_id,
            "ARM_TENANT_ID": azure.tenant_id,
            "ARM_SUBSCRIPTION_ID": azure.subscription_id,
            "ARM_USE_OIDC": "true",
            "ARM_OIDC_TOKEN": token,
            "AZURE_CLIENT_ID": azure.client_id,
            "AZURE_TENANT_ID": azure.tenant_id,
            "AZURE_FEDERATED_TOKEN_FILE": str(token_file),
        }
    )


def for_gcp(gcp: GcpOidc, token_file: Path) -> Published:
    """Return what Google's libraries read: how to exchange the token in a file, as they do it."""
    configuration: dict[str, object] = {
        "type": "external_account",
        "audience": (
            f"//iam.googleapis.com/projects/{gcp.project_id}/locations/global"
            f"/workloadIdentityPools/{gcp.workload_pool_id}/providers/{gcp.provider_id}"
        ),
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": _GOOGLE_TOKEN_URL,
        "service_account_impersonation_url": (
            f"{_GOOGLE_IAM}/{gcp.service_account}:generateAccessToken"
        ),
        "credential_source": {"file": str(token_file), "format": {"type": "text"}},
    }
    if gcp.token_lifetime:
        seconds = int(gcp.token_lifetime.total_seconds())
        configuration["service_account_impersonation"] = {"token_lifetime_seconds": seconds}
    text = json.dumps(configuration)
    hints = {
        "GOOGLE_PROJECT": gcp.project_id,
        "GOOGLE_CLOUD_PROJECT": gcp.project_id,
    }
    if gcp.region:
        hints |= {"GOOGLE_REGION": gcp.region, "CLOUDSDK_COMPUTE_REGION": gcp.region}
    return Published(
        variables={
            "GOOGLE_CREDENTIALS": text,
            "GOOGLE_APPLICATION_CREDENTIALS": str(token_file.with_name(GOOGLE_FILE)),
        },
        hints=hints,
        files={GOOGLE_FILE: text},
    )
