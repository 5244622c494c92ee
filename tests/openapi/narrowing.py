"""Documents whose every body is accepted: with values for what a schema cannot say.

Which URLs and refs git takes, that one revision excludes the others, which cron lines and times
are any: that is beyond a schema. Here such a field has some good values, so that all the others
are held to what their schemas allow.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

__all__ = ["URL", "narrowed"]

URL = "https://example.com/r.git"

_NOTHING = {"enum": [None]}
_URL = {"enum": [URL]}
_TIME = {"enum": ["2099-01-01T00:00:00Z", "2098-12-31T23:00:00.5+01:00"]}
_VARIABLE = {
    "anyOf": [
        {"type": "string", "pattern": "^[a-z]{0,9}$"},
        {"enum": [None, {"secret": "s"}, {"isSecret": False, "value": "v"}]},
        {"enum": [{"plaintext": "p", "secret": ""}]},
    ]
}

# By the names of fields, which mean the same wherever they stand.
FIELDS: dict[str, dict[str, Any]] = {
    "repoUrl": _URL,
    "repoURL": _URL,
    "branch": {"enum": ["main", "refs/heads/next"]},
    # One revision excludes the others.
    "commit": _NOTHING,
    "tag": _NOTHING,
    "repoDir": {"enum": ["", "infra/web", None]},
    # One kind excludes the others.
    "gitAuth": {
        "enum": [
            None,
            {"accessToken": {"secret": "s"}},
            {"basicAuth": {"userName": "u", "password": "p"}},
            {"sshAuth": {"sshPrivateKey": {"isSecret": True, "value": "k"}, "password": None}},
        ]
    },
    "preRunCommands": {"type": "array", "items": {"enum": ["make", "echo $A"]}, "maxItems": 3},
    "environmentVariables": {
        "type": "object",
        # Names have a form of their own, which OpenAPI 3.0 cannot say.
        "properties": dict.fromkeys(("A", "B_2", "region"), _VARIABLE),
        "additionalProperties": False,
    },
    "shell": {"enum": ["", "bash", "/bin/sh", None]},
    # Asks for an engine that clouds know, and an image for podman or docker.
    "oidc": {"enum": [None, {}]},
    "executorImage": {"enum": [None, "", {}]},
    # What docs/api.md says is refused.
    **dict.fromkeys(("role", "hg", "template", "gitHub", "vcs"), _NOTHING),
    "agentPoolID": {"enum": [None, ""]},
    # Without the settings a body has to say more.
    "inheritSettings": {"enum": [None, True]},
    "scheduleCron": {"enum": ["0 3 * * *", "*/5 1-5 * * mon"]},
    "scheduleOnce": _TIME,
    "timestamp": _TIME,
}


def narrowed(document: Any, operations: Iterable[str]) -> Any:
    """Return the part of a document with these operations, and their bodies narrowed."""
    made, wanted = copy.deepcopy(document), set(operations)
    for path, entry in document["paths"].items():
        for method, operation in entry.items():
            if operation["operationId"] not in wanted:
                del made["paths"][path][method]
    made["paths"] = {path: entry for path, entry in made["paths"].items() if entry}
    schemas = made["components"]["schemas"]
    _narrow(schemas)
    _complete(schemas)
    for entry in made["paths"].values():
        for operation in entry.values():
            operation["requestBody"]["required"] = True
            if operation["operationId"] == "EncryptDeploymentSettingsSecret":
                some = {"secret": {"type": "string", "pattern": "^[a-z]{1,9}$"}}
                body = {"type": "object", "properties": some, "required": ["secret"]}
                operation["requestBody"]["content"]["application/json"]["schema"] = body
    return made


def _narrow(value: Any) -> None:
    """Put the good values into all schemas within."""
    if isinstance(value, dict):
        properties = value.get("properties")
        if isinstance(properties, dict):
            properties.update({key: FIELDS[key] for key in properties.keys() & FIELDS.keys()})
        for inner in value.values():
            _narrow(inner)
    elif isinstance(value, list):
        for inner in value:
            _narrow(inner)


def _complete(schemas: Any) -> None:
    """Say what must be there, and what only one of may be."""
    # In today's form the operation stands at the top.
    for name in ("OperationContext", "OperationContextRequest"):
        if name in schemas:
            schemas[name]["properties"]["operation"] = {"enum": [None, ""]}
    create = schemas["CreateDeploymentRequest"]
    for part in (create, *create.get("allOf", ())):
        if "operation" in part.get("properties", {}):
            part["required"] = ["operation"]
            operation = part["properties"]["operation"]
            # Where null is written for what is left out, this cannot be.
            part["properties"]["operation"] = operation.get("anyOf", [operation])[0]
    preview = schemas.get("CreateDeploymentRequestPreview")
    if preview is not None:
        git = {"repoURL": FIELDS["repoURL"], "branch": FIELDS["branch"]}
        more = {"repoDir": FIELDS["repoDir"], "gitAuth": FIELDS["gitAuth"]}
        preview["properties"]["sourceContext"] = _record({"git": _record(git, more)})
    for prefix in ("", "Create"):
        raw = f"{prefix}ScheduledDeploymentRequest"
        if raw not in schemas:
            continue
        request = {"request": {"$ref": "#/components/schemas/CreateDeploymentRequest"}}
        schemas[raw] = {
            "anyOf": [
                _record({key: FIELDS[key], **request}) for key in ("scheduleCron", "scheduleOnce")
            ]
        }
        schemas[f"{prefix}ScheduledDriftDeploymentRequest"]["required"] = ["scheduleCron"]
        schemas[f"{prefix}ScheduledTTLDeploymentRequest"]["required"] = ["timestamp"]


def _record(required: dict[str, Any], more: dict[str, Any] | None = None) -> dict[str, Any]:
    properties = required | (more or {})
    return {"type": "object", "properties": properties, "required": sorted(required)}
