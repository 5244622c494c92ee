"""Asks AWS for a role's credentials, for an identity token: AssumeRoleWithWebIdentity.

One request, unsigned, over TLS; no library of AWS's is needed for it. What AWS answers is told
in its own words, which name neither token nor credentials.
"""

from __future__ import annotations

import html
import http.client
import re
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import IO
from urllib.parse import urlencode

from reconciler.api.oidc import AwsOidc

__all__ = ["AwsCredentials", "Refused", "Unreachable", "assume_role", "endpoint"]

# STS answers within a second; a request is tried again, so one that hangs is given up early.
LIMIT_S = 10.0

# An answer is 2 KB.
LARGEST_ANSWER_BYTES = 64 * 1024

# Of AWS's words, in a message.
LONGEST_MESSAGE = 500

_REGION = re.compile(r"[a-z]{2,4}(?:-[a-z]{2,12}){1,3}-\d{1,2}\Z")
_PARTITIONS = {
    "aws": "https://sts.amazonaws.com",
    # These have no endpoint of the whole partition.
    "aws-cn": "https://sts.cn-north-1.amazonaws.com.cn",
    "aws-us-gov": "https://sts.us-gov-west-1.amazonaws.com",
}

# What is wrong for a moment only, by AWS's own list; everything else stays wrong.
_PASSING = frozenset({"IDPCommunicationError", "Throttling", "ThrottlingException"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsCredentials:
    """What a role's session is used with. `expires` is AWS's own text."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)
    expires: str


@dataclass(frozen=True, slots=True)
class Refused:
    """AWS said no, and why; asking again would not help."""

    message: str


@dataclass(frozen=True, slots=True)
class Unreachable:
    """There was no answer, or one that says to ask again."""

    message: str


def endpoint(role_arn: str, region: str) -> str:
    """Return where to ask: in the region that the deployment works in, else its partition's own.

    Credentials of the global endpoint are not valid in every region; a region's own are.
    """
    partition = role_arn.split(":")[1]
    if not _REGION.match(region):
        return _PARTITIONS.get(partition, _PARTITIONS["aws"])
    suffix = "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com"
    return f"https://sts.{region}.{suffix}"


def assume_role(
    url: str, role: AwsOidc, session: str, token: str
) -> AwsCredentials | Refused | Unreachable:
    """Ask once, for as long a session as the request wants."""
    fields = {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": role.role_arn,
        "RoleSessionName": session,
        "WebIdentityToken": token,
    }
    if role.duration:
        fields["DurationSeconds"] = str(int(role.duration.total_seconds()))
    for number, policy in enumerate(role.policy_arns, start=1):
        fields[f"PolicyArns.member.{number}.arn"] = policy
    request = urllib.request.Request(  # noqa: S310 - its scheme was checked by whoever set it
        url, data=urlencode(fields).encode(), headers={"Accept": "application/xml"}, method="POST"
    )
    try:
        with _opener().open(request, timeout=LIMIT_S) as answer:
            return _credentials(answer.read(LARGEST_ANSWER_BYTES).decode(errors="replace"))
    except urllib.error.HTTPError as error:
        with error:
            return _refusal(error.code, _rest(error))
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        return Unreachable(f"{url} does not answer: {str(reason)[:LONGEST_MESSAGE]}")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The token goes to where it was meant for, and nowhere else."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_NoRedirect)


def _rest(error: IO[bytes]) -> str:
    try:
        return error.read(LARGEST_ANSWER_BYTES).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return ""


def _credentials(text: str) -> AwsCredentials | Refused:
    found = {
        name: _element(text, name)
        for name in ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")
    }
    if not all(found.values()):
        return Refused("its answer holds no credentials")
    return AwsCredentials(
        access_key_id=found["AccessKeyId"],
        secret_access_key=found["SecretAccessKey"],
        session_token=found["SessionToken"],
        expires=found["Expiration"],
    )


def _refusal(status: int, text: str) -> Refused | Unreachable:
    code, message = _element(text, "Code"), _element(text, "Message")
    told = f"{code}: {message}" if code else f"HTTP status {status}"
    passing = status >= 500 or status == 429 or code in _PASSING  # noqa: PLR2004 - HTTP's own
    return (Unreachable if passing else Refused)(told[:LONGEST_MESSAGE])


def _element(text: str, name: str) -> str:
    """Return an element's text: the answers are flat, and a whole XML reader takes too much."""
    match = re.search(rf"<{name}>([^<]*)</{name}>", text)
    return html.unescape(match[1]).strip() if match else ""
