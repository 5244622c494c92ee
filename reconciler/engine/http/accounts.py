"""The routes that the Pulumi CLI asks before all others: whose token it is, and what is there."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from reconciler.engine.http.document import TEXT, Operation, listed, one_of, record
from reconciler.engine.http.reading import caller_of
from reconciler.engine.service import Service
from reconciler.engine.tokens import EVERY_ORGANIZATION, Role

__all__ = ["OPERATIONS", "routes"]

_ORGANIZATIONS = listed(record({"githubLogin": TEXT, "name": TEXT, "avatarUrl": TEXT}))

OPERATIONS = (
    Operation(
        id="GetCurrentUser",
        method="GET",
        path="/api/user",
        tag="Users",
        about="Whose the token is, and the organizations it sees",
        answers={
            200: record(
                {
                    **dict.fromkeys(("id", "githubLogin", "name", "email", "avatarUrl"), TEXT),
                    "organizations": _ORGANIZATIONS,
                    "identities": listed(TEXT),
                    "role": one_of(*Role),
                }
            )
        },
    ),
    Operation(
        id="GetDefaultOrganization",
        method="GET",
        path="/api/user/organizations/default",
        tag="Users",
        about="The token's organization; empty for one of all",
        answers={200: record({"GitHubLogin": TEXT})},
    ),
    Operation(
        id="Capabilities",
        method="GET",
        path="/api/capabilities",
        tag="Engine",
        about="What a client of Pulumi's state service may use: nothing",
        answers={200: record({"capabilities": listed({"type": "object"})})},
    ),
    Operation(
        id="GetCLIVersionInfo",
        method="GET",
        path="/api/cli/version",
        tag="Engine",
        about="Which Pulumi CLI is asked for: none",
        answers={200: record({"latestVersion": TEXT, "oldestWithoutWarning": TEXT})},
    ),
)


def routes(service: Service) -> list[Route]:
    """Return the routes of callers and of the engine itself."""
    api = _Accounts(service)
    return [
        Route("/api/user", api.user),
        Route("/api/user/organizations/default", api.default_organization),
        Route("/api/capabilities", api.capabilities),
        Route("/api/cli/version", api.cli_version),
    ]


class _Accounts:
    """The endpoints."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def user(self, request: Request) -> Response:
        caller = caller_of(request)
        return JSONResponse(
            {
                "id": caller.user,
                "githubLogin": caller.user,
                "name": caller.user,
                "email": caller.email,
                "avatarUrl": "",
                "organizations": [
                    {"githubLogin": name, "name": name, "avatarUrl": ""}
                    for name in self._service.stacks.organizations(caller)
                ],
                "identities": [],
                # Of this API alone: what its caller may do.
                "role": str(caller.role),
            }
        )

    def default_organization(self, request: Request) -> Response:
        caller = caller_of(request)
        every = caller.organization == EVERY_ORGANIZATION
        return JSONResponse({"GitHubLogin": "" if every else caller.organization})

    def capabilities(self, _: Request) -> Response:
        return JSONResponse({"capabilities": []})

    def cli_version(self, _: Request) -> Response:
        # Empty: this engine asks nobody to upgrade.
        return JSONResponse({"latestVersion": "", "oldestWithoutWarning": ""})
