"""The routes that the Pulumi CLI asks before all others: whose token it is, and what is there."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from reconciler.engine.http.reading import caller_of
from reconciler.engine.service import Service
from reconciler.engine.tokens import EVERY_ORGANIZATION

__all__ = ["routes"]


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
        caller = caller_of(self._service, request)
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
            }
        )

    def default_organization(self, request: Request) -> Response:
        caller = caller_of(self._service, request)
        every = caller.organization == EVERY_ORGANIZATION
        return JSONResponse({"GitHubLogin": "" if every else caller.organization})

    def capabilities(self, request: Request) -> Response:
        caller_of(self._service, request)
        return JSONResponse({"capabilities": []})

    def cli_version(self, request: Request) -> Response:
        caller_of(self._service, request)
        # Empty: this engine asks nobody to upgrade.
        return JSONResponse({"latestVersion": "", "oldestWithoutWarning": ""})
