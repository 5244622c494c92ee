"""Gets the credentials that a request asks for: one token, then each cloud in turn."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from reconciler.api.oidc import AwsOidc, Oidc
from reconciler.clock import Clock
from reconciler.engine.oidc import claims, published
from reconciler.engine.oidc.aws import (
    AwsCredentials,
    Refused,
    Unreachable,
    assume_role,
    endpoint,
)
from reconciler.engine.oidc.claims import Deployed
from reconciler.engine.oidc.issuer import Issuer
from reconciler.engine.oidc.published import Published
from reconciler.errors import ReconcilerError

__all__ = ["Asked", "CredentialsError", "Obtainer"]

# When AWS does not answer, or cannot fetch our keys just now: after that long, ask again.
PAUSES = (timedelta(seconds=1), timedelta(seconds=3), timedelta(seconds=8))


class CredentialsError(ReconcilerError):
    """A cloud gave no credentials; the message says which, why, and what to look at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked for one deployment; `region` is the AWS region it works in, or empty."""

    oidc: Oidc
    deployed: Deployed
    region: str
    token: str
    token_file: Path


class Obtainer:
    """Speaks with the clouds. `aws_url` is where to ask AWS, or empty for AWS's own."""

    def __init__(self, issuer: Issuer, clock: Clock, aws_url: str) -> None:
        self.issuer = issuer
        self._clock = clock
        self._aws_url = aws_url

    def token(self, oidc: Oidc, deployed: Deployed) -> str:
        """Sign the deployment's token, for as long as its longest session."""
        return self.issuer.token(deployed, claims.lifetime(oidc))

    def obtain(
        self, asked: Asked, stopping: threading.Event, note: Callable[[str], None]
    ) -> Published:
        """Return what the programs are given; CredentialsError where a cloud refuses.

        `note` is told, for the log, what was got. A stop ends the waiting.
        """
        parts = []
        if asked.oidc.aws is not None:
            parts.append(self._from_aws(asked.oidc.aws, asked, stopping, note))
        if asked.oidc.azure is not None:
            azure = asked.oidc.azure
            parts.append(published.for_azure(azure, asked.token, asked.token_file))
            note(f"Azure: a token for the application {azure.client_id}")
        if asked.oidc.gcp is not None:
            gcp = asked.oidc.gcp
            parts.append(published.for_gcp(gcp, asked.token_file))
            note(f"Google Cloud: a token for the service account {gcp.service_account}")
        return published.merged(*parts)

    def _from_aws(
        self, role: AwsOidc, asked: Asked, stopping: threading.Event, note: Callable[[str], None]
    ) -> Published:
        url = self._aws_url or endpoint(role.role_arn, asked.region)
        session = claims.session_name(role.session_name, asked.deployed)
        answer = assume_role(url, role, session, asked.token)
        for pause in PAUSES:
            if not isinstance(answer, Unreachable) or stopping.is_set():
                break
            self._clock.wait_until(self._clock.now() + pause, stopping)
            answer = assume_role(url, role, session, asked.token)
        match answer:
            case AwsCredentials():
                note(f"AWS: {role.role_arn} as {session}, until {answer.expires}")
                return published.for_aws(answer)
            case Refused():
                raise CredentialsError(
                    f"AWS gave no credentials for {role.role_arn}: {answer.message}. Its trust "
                    f"policy must name the issuer {self.issuer.url}, the audience "
                    f"{asked.deployed.stack.organization} and the subject "
                    f"{claims.subject(asked.deployed)}"
                )
            case Unreachable():
                raise CredentialsError(
                    f"AWS gave no credentials for {role.role_arn}, asked {len(PAUSES) + 1} times: "
                    f"{answer.message}"
                )
