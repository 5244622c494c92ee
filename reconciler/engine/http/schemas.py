"""The JSON Schemas that several routes share, by their names in the document. Pure.

What a request's schema allows is accepted, as far as it does not depend on the engine's own
settings; what it forbids is refused with 400.
"""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.api.create_body import SHELL_PATTERN
from reconciler.api.dialects import Dialect
from reconciler.api.types import PREVIEW_OPERATIONS, EndingKind, JobStatus, Operation, StepStatus
from reconciler.engine.http.document import (
    FLAG,
    NUMBER,
    TEXT,
    Schema,
    listed,
    mapped,
    nullable,
    one_of,
    record,
    ref,
)

__all__ = ["SCHEMAS"]

# `2022-10-17 22:12:34.834`
_CREATED: Schema = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}$"}
_TIME: Schema = {"type": "string", "format": "date-time"}
_ID: Schema = {"type": "string", "format": "uuid"}
_STATUS = one_of(*JobStatus)
_OPERATION = one_of(*Operation)

# What a request may carry as text: everything but NUL, which no program can be given.
_FREE: Schema = {"type": "string", "pattern": r"^[^\u0000]*$"}
_SOME: Schema = {"type": "string", "pattern": r"^[^\u0000]+$"}
_FREE_OR_NULL = nullable(_FREE)
# What today's API has and the engine has not.
_NOTHING: Schema = {"type": "null"}
_FLAG_OR_NULL = nullable(FLAG)

_SECRET: Schema = {
    "description": "A value, plain or secret; or of a secret the {ciphertext} that was answered",
    "anyOf": [
        _FREE,
        record({"secret": _FREE}, {"plaintext": nullable(_FREE), "ciphertext": {"type": "null"}}),
        record({"isSecret": FLAG, "value": _FREE}, {"ciphertext": {"type": "null"}}),
        record({"plaintext": _FREE}, {"secret": nullable(_FREE), "ciphertext": {"type": "null"}}),
    ],
}
# What is shown of one: a plain value in the form the client reads, of a secret its ciphertext.
_SHOWN_SECRET: Schema = {
    "anyOf": [
        TEXT,
        record({"ciphertext": TEXT}, {"secret": one_of("")}),
        record({"isSecret": FLAG, "value": TEXT}, {"plaintext": TEXT, "secret": one_of("")}),
    ]
}


def _summary() -> dict[str, Schema]:
    return {
        "id": _ID,
        "created": _CREATED,
        "modified": _CREATED,
        "status": _STATUS,
        "version": NUMBER,
        "requestedBy": ref("User"),
    }


def _answers() -> dict[str, Schema]:
    shown = record({"name": TEXT, "secret": FLAG}, {"value": TEXT})
    git = record({"repoURL": TEXT}, dict.fromkeys(("branch", "commit", "tag", "repoDir"), TEXT))
    configuration = record(
        {"environmentVariables": listed(shown)}, {"source": record({}, {"git": git})}
    )
    times: dict[str, Schema] = {"started": _TIME, "lastUpdated": _TIME}
    update: dict[str, Schema] = {
        "kind": TEXT,
        "result": one_of("not-started", "in-progress", "succeeded", "failed"),
        "startTime": NUMBER,
        "endTime": NUMBER,
        "version": NUMBER,
        "message": TEXT,
        "environment": mapped(TEXT),
    }
    jobs: dict[str, Schema] = {"jobs": listed(ref("Job"))}
    ours: dict[str, Schema] = {
        "initiator": TEXT,
        "pulumiOperation": _OPERATION,
        "projectName": TEXT,
        "stackName": TEXT,
        "ending": record({"kind": one_of(*EndingKind), "message": TEXT}),
        "updates": listed(record({**update, "id": TEXT, "updateID": TEXT})),
    }
    full = {**_summary(), **jobs, "latestVersion": NUMBER, "configuration": configuration}
    more = {"nextToken": TEXT, "nextOffset": NUMBER}
    lines = listed(record({"timestamp": _TIME}, {"header": TEXT, "line": TEXT}))
    return {
        "User": record(dict.fromkeys(("name", "githubLogin", "avatarUrl", "email"), TEXT)),
        "Step": record({"name": TEXT, "status": one_of(*StepStatus), **times}),
        "Job": record({"status": _STATUS, "steps": listed(ref("Step")), **times}),
        "DeploymentSummary": record(_summary()),
        "DeploymentPreview": record(full),
        "Deployment": record(full, ours),
        "DeploymentList": record(
            {
                "deployments": listed(record({**_summary(), **jobs}, ours)),
                "itemsPerPage": NUMBER,
                "total": NUMBER,
            }
        ),
        "CreatedDeployment": record({"id": _ID, "version": NUMBER, "consoleUrl": TEXT}),
        "UpdateInfo": record(
            {
                "info": record({**update, "config": mapped(TEXT)}),
                "updateID": TEXT,
                "version": NUMBER,
                "latestVersion": NUMBER,
                "requestedBy": ref("User"),
            }
        ),
        "LogsPreview": record({"lines": lines}, more),
        "Logs": record(
            {"lines": lines, "__type": one_of("DeploymentLogs", "DeploymentLogsStep")}, more
        ),
    }


def _git_source(dialect: Dialect, secret: Schema) -> Schema:
    preview = dialect is Dialect.PREVIEW
    basic = record({"userName": secret, "password": secret})
    ssh = record(
        {("privateKey" if preview else "sshPrivateKey"): secret},
        {"password": nullable(secret)},
    )
    # One of them, which is said by the refusal of two.
    kinds = {"accessToken": secret, "sshAuth": ssh, "basicAuth": basic}
    auth = record({}, {kind: nullable(form) for kind, form in kinds.items()})
    texts = dict.fromkeys(("branch", "commit", "tag", "repoDir"), _FREE_OR_NULL)
    url = "repoURL" if preview else "repoUrl"
    return record({}, {url: _FREE_OR_NULL, **texts, "gitAuth": nullable(auth)})


def _operation_context(dialect: Dialect, secret: Schema) -> Schema:
    options = record(
        {},
        {
            "skipInstallDependencies": _FLAG_OR_NULL,
            "skipIntermediateDeployments": _FLAG_OR_NULL,
            "shell": nullable({"type": "string", "pattern": SHELL_PATTERN}),
            "deleteAfterDestroy": _FLAG_OR_NULL,
            "remediateIfDriftDetected": _FLAG_OR_NULL,
        },
    )
    context: dict[str, Schema] = {
        "preRunCommands": nullable(listed(_FREE)),
        "environmentVariables": nullable(
            mapped(nullable(secret), r"^[A-Za-z_][A-Za-z0-9_]{0,254}$")
        ),
        "options": nullable(options),
        "oidc": nullable({"type": "object"}),
        "role": _NOTHING,
    }
    return record(
        {"operation": one_of(*PREVIEW_OPERATIONS)} if dialect is Dialect.PREVIEW else {}, context
    )


def _blocks(dialect: Dialect, secret: Schema) -> dict[str, Schema]:
    """Return what the requests of a dialect are made of; `secret` is a secret's form in them."""
    credentials = record({"username": secret, "password": secret})
    image: Schema = {
        "anyOf": [
            _FREE,
            record({"reference": _FREE_OR_NULL}, {"credentials": nullable(credentials)}),
            {"type": "object", "maxProperties": 0},
        ]
    }
    source = {"git": nullable(_git_source(dialect, secret)), "hg": _NOTHING, "template": _NOTHING}
    return {
        "sourceContext": record({}, source),
        "operationContext": _operation_context(dialect, secret),
        "executorContext": nullable(
            record({}, {"executorImage": nullable(image), "executorRootPath": _FREE_OR_NULL})
        ),
        "agentPoolID": {"enum": [None, ""]},
        "gitHub": _NOTHING,
        "tag": _FREE_OR_NULL,
        "vcs": _NOTHING,
    }


def _today(secret: Schema) -> dict[str, Schema]:
    cache = nullable(record({}, {"enable": _FLAG_OR_NULL}))
    blocks = _blocks(Dialect.TODAY, secret)
    for name in ("sourceContext", "operationContext"):
        blocks[name] = nullable(blocks[name])
    return {**blocks, "cacheOptions": cache}


def _requests() -> dict[str, Schema]:
    preview, today = _blocks(Dialect.PREVIEW, ref("SecretValue")), _today(ref("SecretValue"))
    shown = _today(ref("ShownSecret"))
    needed = {name: preview.pop(name) for name in ("sourceContext", "operationContext")}
    return {
        "SecretValue": _SECRET,
        "ShownSecret": _SHOWN_SECRET,
        "SecretToEncrypt": {
            "anyOf": [_SOME, record({"secret": _SOME}), record({"isSecret": FLAG, "value": _SOME})]
        },
        "DeploymentSettingsRequest": record({}, today),
        "DeploymentSettings": record({"version": NUMBER, "source": one_of("api")}, shown),
        "CreateDeploymentRequestPreview": record(needed, preview),
        "CreateDeploymentRequest": record(
            {"operation": _OPERATION}, {**today, "inheritSettings": _FLAG_OR_NULL}
        ),
    }


def _schedules() -> dict[str, Schema]:
    times = ("nextExecution", "created", "modified", "lastExecuted")
    action = record(
        {
            **dict.fromkeys(("id", "orgID", *times), TEXT),
            "paused": FLAG,
            "kind": one_of("deployment"),
            "definition": {"type": "object"},
        },
        {"scheduleCron": TEXT, "scheduleOnce": TEXT},
    )
    texts = ("id", "scheduledActionID", "executed", "result", "slot", "deploymentId")
    event = record({**dict.fromkeys(texts, TEXT), "version": NUMBER})
    update = record(
        {"updateId": TEXT, "modified": _CREATED, "status": _STATUS},
        {"resourceChanges": mapped(NUMBER)},
    )
    run = record(
        {"id": _ID, "driftDetected": FLAG, "created": _CREATED, "status": _STATUS},
        {
            "deploymentId": _ID,
            "deploymentVersion": NUMBER,
            "detectUpdate": ref("DriftRunUpdate"),
            "remediateUpdate": ref("DriftRunUpdate"),
        },
    )
    status = record({"driftDetected": FLAG, "latestDriftRun": TEXT, "runInProgress": FLAG})
    once: Schema = {"type": "string", "format": "date-time"}
    return {
        "DriftRunUpdate": update,
        "DriftRun": run,
        "DriftStatus": status,
        "ScheduledAction": action,
        "ScheduleEvent": event,
        "ScheduledDeploymentRequest": record(
            {},
            {
                "scheduleCron": nullable(TEXT),
                "scheduleOnce": nullable(once),
                "request": nullable(ref("CreateDeploymentRequest")),
            },
        ),
        "ScheduledDriftDeploymentRequest": record(
            {"scheduleCron": TEXT}, {"autoRemediate": _FLAG_OR_NULL}
        ),
        "ScheduledTTLDeploymentRequest": record(
            {"timestamp": once}, {"deleteAfterDestroy": _FLAG_OR_NULL}
        ),
    }


SCHEMAS: Mapping[str, Schema] = {**_answers(), **_requests(), **_schedules()}
