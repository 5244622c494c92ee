"""Reads and writes the `oidc` part of a request's operationContext. Pure.

What is required and which forms are allowed are the clouds' own rules, told here before a
deployment waits, clones and fails by them.
"""

from __future__ import annotations

import re
from datetime import timedelta

from reconciler.api.oidc import NO_OIDC, AwsOidc, AzureOidc, GcpOidc, Oidc
from reconciler.api.wire import Pointer, Reader

__all__ = ["PLACES", "oidc_to_json", "read_oidc"]

# What `${…}` in a session name may stand for, as Pulumi's documentation lists it.
PLACES = (
    "organization.name",
    "project.name",
    "stack.name",
    "deployment.operation",
    "deployment.version",
    "deployment.id",
    "operation",  # the API's own description calls it so
)

# AssumeRoleWithWebIdentity's own limits.
_AWS_DURATION = (timedelta(minutes=15), timedelta(hours=12))
MOST_POLICIES = 10
LONGEST_SESSION_NAME = 64
_SESSION_NAME = re.compile(r"[\w+=,.@-]*\Z", re.ASCII)
_PLACE = re.compile(r"\$\{([^{}]*)\}")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]{1,512}\Z", re.ASCII)
_POLICY = re.compile(r"arn:aws[a-z-]*:iam::(?:\d{12}|aws):policy/[\w+=,.@/-]{1,512}\Z", re.ASCII)

# What a service account's access token may live for.
_GCP_LIFETIME = (timedelta(minutes=10), timedelta(hours=12))

# Identifiers go into URLs, paths and variables; none of the clouds' own has anything else.
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
_EMAIL = re.compile(r"[A-Za-z0-9._+-]{1,128}@[A-Za-z0-9.-]{1,253}\Z")
_DIGITS = re.compile(r"[0-9]{1,20}\Z")

_UNITS = {"h": "hours", "m": "minutes", "s": "seconds", "ms": "milliseconds"}
_DURATION_PART = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(h|ms|m|s)")


def read_oidc(reader: Reader, value: object, at: Pointer) -> Oidc:
    """Read the whole part; an absent one asks for nothing. Faults go to the reader."""
    clouds = reader.mapping(value, at)
    if not clouds:
        return NO_OIDC
    return Oidc(
        aws=_aws(reader, clouds["aws"], (*at, "aws")) if clouds.get("aws") is not None else None,
        azure=_azure(reader, clouds["azure"], (*at, "azure"))
        if clouds.get("azure") is not None
        else None,
        gcp=_gcp(reader, clouds["gcp"], (*at, "gcp")) if clouds.get("gcp") is not None else None,
    )


def oidc_to_json(oidc: Oidc) -> dict[str, object]:
    """Write the part as it is read; what was not asked for is left out."""
    body: dict[str, object] = {}
    if oidc.aws is not None:
        aws: dict[str, object] = {
            "roleArn": oidc.aws.role_arn,
            "sessionName": oidc.aws.session_name,
        }
        if oidc.aws.duration:
            aws["duration"] = _duration_text(oidc.aws.duration)
        if oidc.aws.policy_arns:
            aws["policyArns"] = list(oidc.aws.policy_arns)
        body["aws"] = aws
    if oidc.azure is not None:
        body["azure"] = {
            "clientId": oidc.azure.client_id,
            "tenantId": oidc.azure.tenant_id,
            "subscriptionId": oidc.azure.subscription_id,
        }
    if oidc.gcp is not None:
        gcp = {
            "projectId": oidc.gcp.project_id,
            "workloadPoolId": oidc.gcp.workload_pool_id,
            "providerId": oidc.gcp.provider_id,
            "serviceAccount": oidc.gcp.service_account,
        }
        if oidc.gcp.region:
            gcp["region"] = oidc.gcp.region
        if oidc.gcp.token_lifetime:
            gcp["tokenLifetime"] = _duration_text(oidc.gcp.token_lifetime)
        body["gcp"] = gcp
    return body


def _aws(reader: Reader, value: object, at: Pointer) -> AwsOidc:
    given = reader.mapping(value, at)
    policies = reader.texts(given.get("policyArns"), (*at, "policyArns"))
    if len(policies) > MOST_POLICIES:
        reader.fault((*at, "policyArns"), f"has {len(policies)} policies; AWS takes at most 10")
    for index, policy in enumerate(policies):
        if not _POLICY.match(policy):
            what = "is no policy's ARN, such as arn:aws:iam::aws:policy/ReadOnlyAccess"
            reader.fault((*at, "policyArns", index), what)
    role = "no role's ARN, such as arn:aws:iam::123456789012:role/deploy"
    return AwsOidc(
        role_arn=_required(reader, given, (*at, "roleArn"), _ROLE, role),
        session_name=_session_name(reader, given, (*at, "sessionName")),
        duration=_duration(reader, given, (*at, "duration"), _AWS_DURATION),
        policy_arns=policies,
    )


def _azure(reader: Reader, value: object, at: Pointer) -> AzureOidc:
    given = reader.mapping(value, at)
    what = "no identifier: letters, digits, '.', '_' and '-'"
    return AzureOidc(
        client_id=_required(reader, given, (*at, "clientId"), _IDENTIFIER, what),
        tenant_id=_required(reader, given, (*at, "tenantId"), _IDENTIFIER, what),
        subscription_id=_required(reader, given, (*at, "subscriptionId"), _IDENTIFIER, what),
    )


def _gcp(reader: Reader, value: object, at: Pointer) -> GcpOidc:
    given = reader.mapping(value, at)
    what = "no identifier: letters, digits, '.', '_' and '-'"
    number = "not the project's number, which has only digits"
    email = "no service account's address, such as deploy@my-project.iam.gserviceaccount.com"
    region = reader.text(given.get("region"), (*at, "region"))
    if region and not _IDENTIFIER.match(region):
        reader.fault((*at, "region"), f"is {what}")
    return GcpOidc(
        project_id=_required(reader, given, (*at, "projectId"), _DIGITS, number),
        workload_pool_id=_required(reader, given, (*at, "workloadPoolId"), _IDENTIFIER, what),
        provider_id=_required(reader, given, (*at, "providerId"), _IDENTIFIER, what),
        service_account=_required(reader, given, (*at, "serviceAccount"), _EMAIL, email),
        region=region,
        token_lifetime=_duration(reader, given, (*at, "tokenLifetime"), _GCP_LIFETIME),
    )


def _required(
    reader: Reader,
    given: dict[str, object],
    at: Pointer,
    form: re.Pattern[str],
    wrong: str,
) -> str:
    """Read a text that must be there and match; `wrong` says what one that does not is."""
    text = reader.text(given.get(str(at[-1])), at)
    if not text:
        reader.fault(at, "is required")
    elif not form.match(text):
        reader.fault(at, f"is {wrong}")
    return text


def _session_name(reader: Reader, given: dict[str, object], at: Pointer) -> str:
    name = reader.text(given.get("sessionName"), at)
    unknown = [place for place in _PLACE.findall(name) if place not in PLACES]
    plain = _PLACE.sub("", name)
    if not name:
        reader.fault(at, "is required")
    elif unknown:
        reader.fault(at, f"has ${{{unknown[0][:40]}}}; there are {', '.join(PLACES[:-1])}")
    elif not _SESSION_NAME.match(plain) or len(name) < 2:  # noqa: PLR2004 - AWS's own limit
        reader.fault(at, "is no session's name: 2 to 64 letters, digits and _+=,.@-")
    elif len(plain) > LONGEST_SESSION_NAME:
        reader.fault(at, f"is longer than {LONGEST_SESSION_NAME} characters")
    return name


def _duration(
    reader: Reader, given: dict[str, object], at: Pointer, bounds: tuple[timedelta, timedelta]
) -> timedelta:
    text = reader.text(given.get(str(at[-1])), at)
    if not text:
        return timedelta(0)
    found = _parse_duration(text)
    if found is None:
        reader.fault(at, f"{text[:40]!r} is no duration, such as 1h30m0s")
        return timedelta(0)
    low, high = bounds
    if found and not low <= found <= high:
        reader.fault(
            at, f"is {text}; the cloud takes {_duration_text(low)} to {_duration_text(high)}"
        )
    return found


def _parse_duration(text: str) -> timedelta | None:
    """Read Go's form: `1h30m0s`, `90m`; None where it is none."""
    if text == "0":
        return timedelta(0)
    if not text or _DURATION_PART.sub("", text):
        return None
    parts = (
        timedelta(**{_UNITS[unit]: float(number)}) for number, unit in _DURATION_PART.findall(text)
    )
    return sum(parts, timedelta(0))


def _duration_text(duration: timedelta) -> str:
    """Write Go's form."""
    minutes, seconds = divmod(duration.total_seconds(), 60)
    hours, minutes = divmod(int(minutes), 60)
    rest = f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"
    return f"{hours}h{minutes}m{rest}" if hours else f"{minutes}m{rest}" if minutes else rest
