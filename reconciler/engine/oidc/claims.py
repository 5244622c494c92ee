"""What an identity token says of a deployment. Pure.

The names and forms are those of Pulumi's documentation, so that a trust policy written for
Pulumi Cloud needs another issuer and nothing else. `deploymentId`, `jti` and `nbf` are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from reconciler.api.oidc import Oidc
from reconciler.api.types import Operation, StackRef
from reconciler.engine.oidc.keys import LONGEST_LIFETIME

__all__ = ["Deployed", "claims", "lifetime", "session_name", "subject"]

# A provider may exchange the token again whenever what it got for it expires, in mid-run; most
# runs are over by then.
SHORTEST_LIFETIME = timedelta(hours=1)

# AWS's own.
LONGEST_SESSION_NAME = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """What a token is about."""

    stack: StackRef
    operation: Operation
    version: int
    id: str


def subject(deployed: Deployed) -> str:
    """Return the `sub`: what trust policies compare."""
    stack = deployed.stack
    return (
        f"pulumi:deploy:org:{stack.organization}:project:{stack.project}:stack:{stack.stack}"
        f":operation:{deployed.operation}:scope:write"
    )


def lifetime(oidc: Oidc) -> timedelta:
    """Return how long a token lives: as long as the longest session asked for, at least 1 h."""
    asked = [SHORTEST_LIFETIME]
    if oidc.aws is not None:
        asked.append(oidc.aws.duration)
    if oidc.gcp is not None:
        asked.append(oidc.gcp.token_lifetime)
    return min(max(asked), LONGEST_LIFETIME)


def claims(
    issuer: str, deployed: Deployed, now: datetime, lives: timedelta, token_id: str
) -> dict[str, object]:
    """Return all claims of a token."""
    stack, begin = deployed.stack, int(now.timestamp())
    return {
        "iss": issuer,
        "aud": stack.organization,
        "sub": subject(deployed),
        "iat": begin,
        "nbf": begin,
        "exp": begin + int(lives.total_seconds()),
        "jti": token_id,
        "org": stack.organization,
        "project": stack.project,
        "stack": stack.stack,
        "stackId": str(stack),
        "operation": str(deployed.operation),
        "deployment": str(deployed.version),
        "deploymentId": deployed.id,
        "scope": "write",
    }


def session_name(template: str, deployed: Deployed) -> str:
    """Fill the places of an AWS session's name; the names in it are cut so that 64 letters do.

    Operation, version and id stay whole: by them a run is found in AWS's own records.
    """
    stack = deployed.stack
    names = {
        "organization.name": stack.organization,
        "project.name": stack.project,
        "stack.name": stack.stack,
    }
    whole = {
        "deployment.operation": str(deployed.operation),
        "deployment.version": str(deployed.version),
        "deployment.id": deployed.id,
        "operation": str(deployed.operation),
    }
    filled = ""
    for longest in range(LONGEST_SESSION_NAME, -1, -1):
        filled = template
        for place, text in (whole | {key: name[:longest] for key, name in names.items()}).items():
            filled = filled.replace(f"${{{place}}}", text)
        if len(filled) <= LONGEST_SESSION_NAME:
            break
    return filled[:LONGEST_SESSION_NAME]
