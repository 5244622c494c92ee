"""What a request says of short-lived cloud credentials, as values. Pure.

A zero duration is one that was not asked for: the cloud's own default.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

__all__ = ["NO_OIDC", "AwsOidc", "AzureOidc", "GcpOidc", "Oidc"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsOidc:
    """A role of AWS to take on. `session_name` may hold `${…}` places, filled for each run."""

    role_arn: str
    session_name: str
    duration: timedelta = timedelta(0)
    policy_arns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureOidc:
    """An application of Microsoft Entra that trusts the issuer."""

    client_id: str
    tenant_id: str
    subscription_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GcpOidc:
    """A service account of Google Cloud, reached through a workload identity pool."""

    project_id: str  # digits: the project's number
    workload_pool_id: str
    provider_id: str
    service_account: str
    region: str = ""
    token_lifetime: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Oidc:
    """The clouds that credentials are asked of: none, one, or several at once."""

    aws: AwsOidc | None = None
    azure: AzureOidc | None = None
    gcp: GcpOidc | None = None

    @property
    def asked(self) -> bool:
        """Whether there is any."""
        return any((self.aws, self.azure, self.gcp))


NO_OIDC = Oidc()
