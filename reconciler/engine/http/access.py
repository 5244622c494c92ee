"""The routes of tokens and of the audit log, as Pulumi's API has them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from reconciler.api.types import StackRef
from reconciler.engine.http import body
from reconciler.engine.http.document import (
    FLAG,
    NUMBER,
    TEXT,
    Operation,
    Parameter,
    Schema,
    listed,
    nullable,
    one_of,
    record,
)
from reconciler.engine.http.reading import LARGEST_NUMBER, caller_of, read_body, whole
from reconciler.engine.service import AnswerError, Service
from reconciler.engine.store import AuditQuery, Link, StoredToken
from reconciler.engine.tokens import Role

__all__ = ["OPERATIONS", "routes"]

# The end of year 9999, the last that a date can say.
LATEST_S = 253_402_300_799

# A page of the audit log, as in Pulumi's API.
PAGE = 100

# What Pulumi's API calls the nearest of its own roles.
_IDENTIFIERS = {Role.ADMIN: "stack-admin", Role.DEPLOY: "stack-write", Role.READ: "stack-read"}

_DESCRIPTION: Schema = {"type": "string", "pattern": r"^[^\x00-\x1f\x7f-\x9f]{0,100}$"}
_SECONDS: Schema = {"type": "integer", "minimum": 0, "maximum": LATEST_S}
_NAME: Schema = {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"}

_NEW = record({}, {"description": _DESCRIPTION, "expires": _SECONDS})
_NEW_OF_ORGANIZATION = record(
    {"name": _NAME},
    {
        "description": _DESCRIPTION,
        "expires": _SECONDS,
        "admin": FLAG,
        "roleID": nullable(one_of(*Role)),
    },
)
_MADE = record({"id": TEXT, "tokenValue": TEXT})
_TOKENS = record(
    {
        "tokens": listed(
            record(
                {
                    **dict.fromkeys(("id", "name", "description", "created", "createdBy"), TEXT),
                    "lastUsed": NUMBER,
                    "expires": NUMBER,
                    "admin": FLAG,
                    "type": one_of("personal", "organization"),
                    "role": record(dict.fromkeys(("id", "name", "defaultIdentifier"), TEXT)),
                }
            )
        )
    }
)
_PAST = (Parameter(name="show_expired", schema=FLAG, about="expired and revoked ones too (false)"),)

_MINE, _ONE_OF_MINE = "/api/user/tokens", "/api/user/tokens/{token}"
_THEIRS = "/api/orgs/{organization}/tokens"
_ONE_OF_THEIRS, _AUDIT = f"{_THEIRS}/{{token}}", "/api/orgs/{organization}/auditlogs"


def _operation(name: str, at: str, about: str, answer: dict[int, Schema], more: str) -> Operation:
    method, _, path = at.partition(" ")
    return Operation(
        id=name, method=method, path=path, tag="Access", about=about, answers=answer, needs=more
    )


OPERATIONS = (
    replace(
        _operation(
            "ListPersonalTokens", f"GET {_MINE}", "List your tokens", {200: _TOKENS}, "read"
        ),
        query=_PAST,
    ),
    replace(
        _operation(
            "CreatePersonalToken", f"POST {_MINE}", "Make a token of yours", {200: _MADE}, "read"
        ),
        body=_NEW,
        refusals=(409,),
    ),
    replace(
        _operation(
            "DeletePersonalToken",
            f"DELETE {_ONE_OF_MINE}",
            "Revoke a token of yours",
            {204: {}},
            "read",
        ),
        refusals=(404,),
    ),
    replace(
        _operation(
            "ListOrgTokens",
            f"GET {_THEIRS}",
            "List the tokens of all in the organization",
            {200: _TOKENS},
            "admin",
        ),
        query=_PAST,
    ),
    replace(
        _operation(
            "CreateOrgToken", f"POST {_THEIRS}", "Make a token for somebody", {200: _MADE}, "admin"
        ),
        body=_NEW_OF_ORGANIZATION,
        refusals=(409,),
    ),
    _operation(
        "DeleteOrgToken", f"DELETE {_ONE_OF_THEIRS}", "Revoke anybody's token", {204: {}}, "admin"
    ),
    replace(
        _operation(
            "ListAuditLogEventsHandlerV1",
            f"GET {_AUDIT}",
            "Read the organization's audit log, the newest first",
            {
                200: record(
                    {
                        "auditLogEvents": listed(
                            record(
                                {
                                    "timestamp": NUMBER,
                                    **dict.fromkeys(("sourceIP", "event", "description"), TEXT),
                                    "user": record(
                                        dict.fromkeys(
                                            ("name", "githubLogin", "avatarUrl", "email"), TEXT
                                        )
                                    ),
                                    "tokenID": TEXT,
                                    "authFailure": FLAG,
                                }
                            )
                        )
                    },
                    {"continuationToken": TEXT},
                )
            },
            "admin",
        ),
        query=(
            Parameter(
                name="continuationToken",
                schema={"type": "integer", "minimum": 0, "maximum": LARGEST_NUMBER},
                about="as in the answer before",
            ),
            Parameter(name="startTime", schema=_SECONDS, about="only entries older than this"),
            Parameter(name="userFilter", schema=TEXT, about="only what this user did"),
            Parameter(name="eventFilter", schema=TEXT, about="only what was done by this event"),
        ),
    ),
)


def routes(service: Service) -> list[Route]:
    """Return the routes of tokens and of the audit log."""
    api = _Access(service)
    return [
        Route(_MINE, api.list_mine, methods=["GET"]),
        Route(_MINE, api.make_mine, methods=["POST"]),
        Route(_ONE_OF_MINE, api.revoke_mine, methods=["DELETE"]),
        Route(_THEIRS, api.list_theirs, methods=["GET"]),
        Route(_THEIRS, api.make_theirs, methods=["POST"]),
        Route(_ONE_OF_THEIRS, api.revoke_theirs, methods=["DELETE"]),
        Route(_AUDIT, api.audit_log, methods=["GET"]),
    ]


class _Access:
    """The endpoints."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def list_mine(self, request: Request) -> Response:
        caller = caller_of(request)
        found = self._service.tokens.mine(caller, past=_past(request))
        return JSONResponse({"tokens": [_token(token) for token in found]})

    async def make_mine(self, request: Request) -> Response:
        asked = _object(await read_body(request))
        name, expires_s = _description(asked), _expires(asked)
        caller = caller_of(request)
        made = await run_in_threadpool(self._service.tokens.make_mine, caller, name, expires_s)
        return JSONResponse({"id": made.stored.id, "tokenValue": made.token})

    def revoke_mine(self, request: Request) -> Response:
        caller = caller_of(request)
        self._service.tokens.revoke_mine(caller, request.path_params["token"])
        return Response(status_code=HTTPStatus.NO_CONTENT)

    def list_theirs(self, request: Request) -> Response:
        caller, organization = caller_of(request), request.path_params["organization"]
        found = self._service.tokens.of(caller, organization, past=_past(request))
        return JSONResponse({"tokens": [_token(token) for token in found]})

    async def make_theirs(self, request: Request) -> Response:
        organization = request.path_params["organization"]
        if not StackRef.is_name(organization):
            raise AnswerError(404, "not found")
        asked = _object(await read_body(request))
        user, role = asked.get("name"), asked.get("roleID")
        if not isinstance(user, str) or not StackRef.is_name(user):
            raise AnswerError(400, "name: is required: whose the token is")
        if not isinstance(asked.get("admin", False), bool):
            raise AnswerError(400, "admin: is neither true nor false")
        if role is None:
            role = Role.ADMIN if asked.get("admin") is True else Role.DEPLOY
        if not isinstance(role, str) or role not in set(Role):
            raise AnswerError(400, f"roleID: is none of {', '.join(Role)}")
        caller = caller_of(request)
        owner = replace(
            caller, organization=organization, user=user, email="", role=Role(str(role))
        )
        name, expires_s = _description(asked), _expires(asked)
        made = await run_in_threadpool(
            self._service.tokens.make_for, caller, owner, name, expires_s
        )
        return JSONResponse({"id": made.stored.id, "tokenValue": made.token})

    def revoke_theirs(self, request: Request) -> Response:
        caller, path = caller_of(request), request.path_params
        self._service.tokens.revoke_of(caller, path["organization"], path["token"])
        return Response(status_code=HTTPStatus.NO_CONTENT)

    def audit_log(self, request: Request) -> Response:
        query = request.query_params
        older_s = whole(request, "startTime", 0, (0, LATEST_S))
        found = self._service.audit.page(
            caller_of(request),
            AuditQuery(
                organization=request.path_params["organization"],
                user=query.get("userFilter", ""),
                action=query.get("eventFilter", ""),
                before=whole(request, "continuationToken", LARGEST_NUMBER, (0, LARGEST_NUMBER)),
                older_than=datetime.fromtimestamp(older_s, UTC) if older_s else None,
                count=PAGE,
            ),
        )
        answer: dict[str, object] = {"auditLogEvents": [_event(link) for link in found]}
        if len(found) == PAGE:
            answer["continuationToken"] = str(found[-1].sequence)
        return JSONResponse(answer)


def _past(request: Request) -> bool:
    said = request.query_params.get("show_expired", "false").lower()
    if said not in {"true", "false", "1", "0"}:
        raise AnswerError(400, f"show_expired: {said[:40]!r} is neither true nor false")
    return said in {"true", "1"}


def _object(content: bytes) -> dict[str, object]:
    asked = body.parse(content)
    if not isinstance(asked, dict):
        raise AnswerError(400, "the body is no JSON object")
    return asked


def _description(asked: dict[str, object]) -> str:
    found = asked.get("description", "")
    if not isinstance(found, str) or len(found) > 100 or not _is_plain(found):  # noqa: PLR2004 - the schema's
        raise AnswerError(400, "description: is one line of at most 100 characters")
    return found


def _is_plain(text: str) -> bool:
    return all(ord(c) >= 0x20 and not 0x7F <= ord(c) < 0xA0 for c in text)  # noqa: PLR2004 - controls


def _expires(asked: dict[str, object]) -> int:
    found = asked.get("expires", 0)
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= LATEST_S:
        raise AnswerError(400, "expires: is a time in seconds since 1970, or 0 for never")
    return found


def _token(token: StoredToken) -> dict[str, object]:
    role = Role(token.role)
    return {
        "id": token.id,
        "name": token.name or token.user,
        "description": token.name,
        "created": token.created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "createdBy": token.created_by,
        "lastUsed": 0 if token.last_used is None else int(token.last_used.timestamp()),
        "expires": 0 if token.expires is None else int(token.expires.timestamp()),
        "revoked": token.revoked,
        "admin": role is Role.ADMIN,
        "type": "personal",
        "user": token.user,
        "role": {"id": str(role), "name": str(role), "defaultIdentifier": _IDENTIFIERS[role]},
    }


def _event(link: Link) -> dict[str, object]:
    entry = link.entry
    person = {"name": entry.user, "githubLogin": entry.user, "avatarUrl": "", "email": ""}
    told = (entry.target, entry.result, entry.detail)
    return {
        "timestamp": int(entry.at.timestamp()),
        "sourceIP": entry.address,
        "event": entry.action,
        "description": " ".join(filter(None, told)),
        "user": person,
        "tokenID": entry.token,
        "authFailure": entry.result in {"refused 401", "refused 403", "refused 429"},
        "sequence": link.sequence,
        "hash": link.hash,
    }
