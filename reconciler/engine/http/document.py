"""Says what each route takes and answers, as an OpenAPI 3.1 document. Pure.

Each module of routes has a table OPERATIONS beside them, one `Operation` a method and path; a
test holds the tables and the routes together, and another calls every operation with what its
entry allows and forbids. What all operations have in common (the token, the errors) is added
here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

__all__ = [
    "FLAG",
    "NUMBER",
    "TEXT",
    "Operation",
    "Parameter",
    "Schema",
    "build",
    "listed",
    "mapped",
    "nullable",
    "one_of",
    "record",
    "ref",
]

Schema = Mapping[str, object]

_JSON = "application/json"

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "integer", "format": "int64"}
FLAG: Schema = {"type": "boolean"}

# The official document's names for the parts of a path, so that `pulumi api` fills them in from
# the project it is called in.
_PATH_NAMES = {
    "organization": "orgName",
    "project": "projectName",
    "stack": "stackName",
    "deployment": "deploymentId",
    "schedule": "scheduleID",
    "token": "tokenId",
}
_PATH_SCHEMAS: Mapping[str, Schema] = {
    "version": {"type": "integer", "minimum": 1, "maximum": 2**53},
    **{
        name: {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"}
        for name in ("organization", "project", "stack")
    },
}

_STATUS_TEXTS = {
    200: "done",
    202: "accepted",
    204: "done",
    400: "the request cannot be; the message names the field",
    401: "the token is missing, malformed, unknown, revoked or expired",
    403: "the token's role may not do this",
    404: "not there, or not to be seen with this token",
    409: "it is there already, or in the way",
    413: "the body is too large",
    415: "the body's encoding is not understood",
    429: "too many calls; Retry-After says when to try again",
    503: "the engine cannot use its database now; ask what was done, or try again later",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter of the query or a header; none of them must be given."""

    name: str
    schema: Schema
    about: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What one method of one path takes and answers.

    `id` is the official document's where it has the same. `path` is the route's. `body` is
    empty where none is read. `answers` are the good ones, by status; an empty schema is an
    answer without a body, and all are of `media_type`. `refusals` are the statuses beyond those
    that follow from the rest: 400 with a query, a header or a body, 401 and 503 unless `public`,
    403 where something is changed, 404 below an organization, 413 and 415 with a body. `needs` is
    the least role that may call it, where that is not `read` for a GET and `deploy` for the rest.
    `quick` ones only look into the database: they need no thread where that is quick.
    """

    id: str
    method: str
    path: str
    tag: str
    about: str
    query: tuple[Parameter, ...] = ()
    headers: tuple[Parameter, ...] = ()
    body: Schema = field(default_factory=dict)
    answers: Mapping[int, Schema] = field(default_factory=lambda: {200: {}})
    media_type: str = _JSON
    refusals: tuple[int, ...] = ()
    public: bool = False
    needs: str = ""
    quick: bool = False

    @property
    def role(self) -> str:
        """The least role that may call it."""
        return self.needs or ("read" if self.method == "GET" else "deploy")


# ---------------------------------------------------------------- schemas


def ref(name: str) -> Schema:
    """Return the schema of that name, among those the document is built with."""
    return {"$ref": f"#/components/schemas/{name}"}


def listed(item: Schema) -> Schema:
    """Return a list's schema."""
    return {"type": "array", "items": item}


def mapped(value: Schema, names: str = "") -> Schema:
    """Return the schema of an object with keys of the caller's own, which fit `names`."""
    bound = {"propertyNames": {"pattern": names}} if names else {}
    return {"type": "object", "additionalProperties": value, **bound}


def one_of(*choices: str) -> Schema:
    """Return the schema of a text from a closed set."""
    return {"type": "string", "enum": list(choices)}


def record(required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    """Return an object's schema; it may have more keys than these, which are ignored."""
    properties = {**required, **(optional or {})}
    return {
        "type": "object",
        "properties": properties,
        **({"required": sorted(required)} if required else {}),
    }


def nullable(schema: Schema) -> Schema:
    """Return the schema with null allowed, which is as if the key were absent."""
    return {"anyOf": [schema, {"type": "null"}]}


# ---------------------------------------------------------------- the document


def build(
    operations: Iterable[Operation], schemas: Mapping[str, Schema], version: str
) -> dict[str, object]:
    """Return the document of all operations."""
    paths: dict[str, dict[str, object]] = {}
    for operation in operations:
        methods = paths.setdefault(_shown_path(operation.path), {})
        methods[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "The Pulumi Deployments API of a reconciler engine",
            "version": version,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": {**schemas, "Error": record({"code": NUMBER, "message": TEXT})},
            "securitySchemes": {
                "token": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`token {token}`",
                }
            },
        },
    }


def _shown_path(path: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda m: f"{{{_PATH_NAMES.get(m[1], m[1])}}}", path)


def _operation(operation: Operation) -> dict[str, object]:
    answers = {status: (schema, _JSON) for status, schema in _refusals(operation).items()}
    for status, schema in operation.answers.items():
        answers[status] = (schema, operation.media_type)
    shown: dict[str, object] = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.about,
        "parameters": [
            *(_path_parameter(name) for name in re.findall(r"\{(\w+)\}", operation.path)),
            *(_parameter(found, "query") for found in operation.query),
            *(_parameter(found, "header") for found in operation.headers),
        ],
        "responses": {
            str(status): _answer(status, schema, media_type)
            for status, (schema, media_type) in sorted(answers.items())
        },
    }
    if operation.body:
        shown["requestBody"] = {"required": True, "content": _json(operation.body)}
    if operation.public:
        shown["security"] = []
    return shown


def _path_parameter(name: str) -> dict[str, object]:
    return {
        "name": _PATH_NAMES.get(name, name),
        "in": "path",
        "required": True,
        "schema": _PATH_SCHEMAS.get(name, TEXT),
    }


def _parameter(parameter: Parameter, place: str) -> dict[str, object]:
    return {
        "name": parameter.name,
        "in": place,
        "description": parameter.about,
        "schema": parameter.schema,
    }


def _refusals(operation: Operation) -> dict[int, Schema]:
    statuses = set(operation.refusals)
    if operation.query or operation.headers or operation.body:
        statuses |= {400}
    if operation.body:
        statuses |= {413, 415}
    if not operation.public:
        statuses |= {401, 429, 503}
        if operation.role != "read":
            statuses |= {403}
    if "{organization}" in operation.path:
        statuses |= {404}
    return dict.fromkeys(sorted(statuses), ref("Error"))


def _answer(status: int, schema: Schema, media_type: str) -> dict[str, object]:
    content = {"content": {media_type: {"schema": schema}}} if schema else {}
    return {"description": _STATUS_TEXTS[status], **content}


def _json(schema: Schema) -> dict[str, object]:
    return {_JSON: {"schema": schema}}
