"""The two dialects of the API: paths, deployments, lists and logs, to JSON and back. Pure.

`preview` is the API of 2022, `today` the one Pulumi Cloud serves now. The body of a create
is in `create_body`.
"""

from __future__ import annotations

import marshal
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any

from reconciler.api.types import (
    Created,
    Deployment,
    Ending,
    EndingKind,
    GitSource,
    Job,
    JobStatus,
    LogLine,
    Operation,
    ShownVariable,
    StackRef,
    Step,
    StepStatus,
    User,
)
from reconciler.api.updates import nested_updates_to_json, user_to_json
from reconciler.api.wire import (
    created_text,
    nanosecond_text,
    parse_nanoseconds,
    parse_time,
    step_time_text,
)

__all__ = [
    "Dialect",
    "created_from_json",
    "deployment_from_json",
    "deployment_to_json",
    "list_from_json",
    "list_to_json",
    "log_lines_from_json",
    "log_lines_to_json",
]


# A thousand runs in flight are a thousand items a poll: the words are listed once.
_OPERATIONS = frozenset(Operation)
_ENDINGS = frozenset(EndingKind)

# And nearly all of them were in the last one too. Each kept item takes about 2 KB.
_ITEMS_KEPT = 1024
_LONGEST_KEPT = 4096
# A form of marshal in which the same value is always the same bytes.
_PLAIN = 2


class Dialect(StrEnum):
    """Which of the two is spoken."""

    PREVIEW = "preview"
    TODAY = "today"

    def stack_path(self, stack: StackRef) -> str:
        """Return the path below which a stack's deployments are."""
        base = "/api/preview" if self is Dialect.PREVIEW else "/api/stacks"
        return f"{base}/{stack.organization}/{stack.project}/{stack.stack}/deployments"


def deployment_to_json(deployment: Deployment, dialect: Dialect) -> dict[str, object]:
    """Write the answer to a GET of one deployment."""
    body = _summary_to_json(deployment)
    body["jobs"] = [_job_to_json(job) for job in deployment.jobs]
    body["latestVersion"] = deployment.latest_version
    configuration: dict[str, object] = {
        "environmentVariables": [
            {"name": v.name, "secret": True}
            if v.secret
            else {"name": v.name, "value": v.value, "secret": False}
            for v in deployment.environment
        ]
    }
    if deployment.source is not None:
        source = deployment.source
        git = {
            "repoURL": source.repo_url,
            "branch": source.branch,
            "commit": source.commit,
            "tag": source.tag,
            "repoDir": source.repo_dir,
        }
        configuration["source"] = {"git": {k: v for k, v in git.items() if v}}
    body["configuration"] = configuration
    if dialect is Dialect.TODAY:
        body |= _today_to_json(deployment)
    return body


def list_to_json(
    deployments: Sequence[Deployment], dialect: Dialect, page_size: int, total: int
) -> object:
    """Write a page of a list; the preview dialect's is a bare array of summaries."""
    if dialect is Dialect.PREVIEW:
        return [_summary_to_json(d) for d in deployments]
    items = [
        _summary_to_json(d) | {"jobs": [_job_to_json(j) for j in d.jobs]} | _today_to_json(d)
        for d in deployments
    ]
    return {"deployments": items, "itemsPerPage": page_size, "total": total}


def _summary_to_json(deployment: Deployment) -> dict[str, object]:
    return {
        "id": deployment.id,
        "created": created_text(deployment.created),
        "modified": created_text(deployment.modified),
        "status": str(deployment.status),
        "version": deployment.version,
        "requestedBy": user_to_json(deployment.requested_by),
    }


def _today_to_json(deployment: Deployment) -> dict[str, object]:
    body: dict[str, object] = {
        "initiator": deployment.initiator or "api",
        "updates": nested_updates_to_json(deployment),
    }
    if deployment.operation is not None:
        body["pulumiOperation"] = str(deployment.operation)
    if deployment.stack is not None:
        body["projectName"] = deployment.stack.project
        body["stackName"] = deployment.stack.stack
    if deployment.ending is not None:
        body["ending"] = {
            "kind": str(deployment.ending.kind),
            "message": deployment.ending.message,
        }
    return body


def _job_to_json(job: Job) -> dict[str, object]:
    return {
        "status": str(job.status),
        "started": step_time_text(job.started),
        "lastUpdated": step_time_text(job.last_updated),
        "steps": [
            {
                "name": step.name,
                "status": str(step.status),
                "started": step_time_text(step.started),
                "lastUpdated": step_time_text(step.last_updated),
            }
            for step in job.steps
        ],
    }


def deployment_from_json(body: Mapping[str, object], organization: str = "") -> Deployment:
    """Read a deployment of either dialect, whole or from a list.

    `organization` names the one it is of, which the API leaves out. Raises ValueError,
    TypeError or KeyError where the answer is not one; the client turns that into LostError.
    """
    configuration = _dict(body.get("configuration"))
    git = _dict(_dict(configuration.get("source")).get("git"))
    user = _dict(body.get("requestedBy"))
    operation = body.get("pulumiOperation")
    ending = _dict(body.get("ending"))
    stack = None
    if organization and body.get("projectName") and body.get("stackName"):
        stack = StackRef(organization, str(body["projectName"]), str(body["stackName"]))
    return Deployment(
        id=str(body["id"]),
        version=_int(body["version"]),
        status=JobStatus(str(body["status"])),
        created=parse_time(str(body["created"])),
        modified=parse_time(str(body["modified"])),
        requested_by=User(
            name=str(user.get("name", "")),
            github_login=str(user.get("githubLogin", "")),
            avatar_url=str(user.get("avatarUrl", "")),
            email=str(user.get("email", "")),
        ),
        operation=Operation(str(operation)) if operation in _OPERATIONS else None,
        stack=stack,
        jobs=tuple(_job_from_json(_dict(job)) for job in _list(body.get("jobs"))),
        latest_version=_int(body.get("latestVersion") or 0),
        environment=tuple(
            ShownVariable(
                name=str(v["name"]),
                value=str(v.get("value") or ""),
                secret=bool(v.get("secret")),
            )
            for v in map(_dict, _list(configuration.get("environmentVariables")))
        ),
        source=GitSource(
            repo_url=str(git.get("repoURL") or git.get("repoUrl") or ""),
            branch=str(git.get("branch") or ""),
            commit=str(git.get("commit") or ""),
            tag=str(git.get("tag") or ""),
            repo_dir=str(git.get("repoDir") or ""),
        )
        if git
        else None,
        initiator=str(body.get("initiator") or ""),
        ending=Ending(kind=EndingKind(str(ending["kind"])), message=str(ending["message"]))
        if ending.get("kind") in _ENDINGS
        else None,
    )


def list_from_json(body: object, organization: str = "") -> tuple[Deployment, ...]:
    """Read a page of a list of either dialect."""
    items = body if isinstance(body, list) else _list(_dict(body)["deployments"])
    return tuple(_item_from_json(_dict(item), organization) for item in items)


def _item_from_json(body: Mapping[str, object], organization: str) -> Deployment:
    plain: Any = body
    packed = marshal.dumps(plain, _PLAIN)  # a tenth of what reading it costs
    if len(packed) > _LONGEST_KEPT:
        return deployment_from_json(body, organization)
    return _unpacked(packed, organization)


@lru_cache(maxsize=_ITEMS_KEPT)
def _unpacked(packed: bytes, organization: str) -> Deployment:
    return deployment_from_json(marshal.loads(packed), organization)  # noqa: S302 - packed here


def created_from_json(body: Mapping[str, object]) -> Created:
    """Read the answer to a create; `version` is 0 where the server leaves it out."""
    return Created(
        id=str(body["id"]),
        version=_int(body.get("version") or 0),
        console_url=str(body.get("consoleUrl") or ""),
    )


def _job_from_json(body: Mapping[str, object]) -> Job:
    return Job(
        status=JobStatus(str(body["status"])),
        started=parse_time(str(body["started"])),
        last_updated=parse_time(str(body["lastUpdated"])),
        steps=tuple(
            Step(
                name=str(step["name"]),
                status=StepStatus(str(step["status"])),
                started=parse_time(str(step["started"])),
                last_updated=parse_time(str(step["lastUpdated"])),
            )
            for step in map(_dict, _list(body.get("steps")))
        ),
    )


# ---------------------------------------------------------------- logs


def log_lines_to_json(lines: Sequence[LogLine]) -> list[dict[str, object]]:
    """Write log lines; a header has the unset time."""
    return [
        {"header": line.header, "timestamp": nanosecond_text(None)}
        if line.header
        else {"timestamp": nanosecond_text(line.timestamp_ns), "line": line.line}
        for line in lines
    ]


def log_lines_from_json(body: object) -> tuple[LogLine, ...]:
    """Read log lines."""
    return tuple(
        LogLine(header=str(item["header"]))
        if item.get("header")
        else LogLine(
            line=str(item.get("line") or ""),
            timestamp_ns=parse_nanoseconds(str(item["timestamp"])),
        )
        for item in map(_dict, _list(body))
    )


def _dict(value: object) -> dict[str, object]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise TypeError("an object was expected")
    return value


def _list(value: object) -> list[object]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise TypeError("a list was expected")
    return value


def _int(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("a whole number was expected")
    return value
