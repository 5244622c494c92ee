"""The routes of a stack's deployment settings."""

from __future__ import annotations

import re

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from reconciler.engine.http import body
from reconciler.engine.http.document import FLAG, Operation, ref
from reconciler.engine.http.reading import caller_of, read_body, stack_of
from reconciler.engine.service import Service, ShownSettings
from reconciler.engine.settings import change_secrets

__all__ = ["OPERATIONS", "routes"]

_BASE = "/api/stacks/{organization}/{project}/{stack}/deployments/settings"

OPERATIONS = (
    Operation(
        id="GetDeploymentSettings",
        method="GET",
        path=_BASE,
        tag="Deployments",
        about="Get a stack's deployment settings",
        answers={200: ref("DeploymentSettings")},
    ),
    Operation(
        id="ReplaceDeploymentSettings",
        method="PUT",
        path=_BASE,
        tag="Deployments",
        about="Set a stack's deployment settings",
        body=ref("DeploymentSettingsRequest"),
        answers={200: ref("DeploymentSettings")},
    ),
    Operation(
        id="PatchDeploymentSettings",
        method="POST",
        path=_BASE,
        tag="Deployments",
        about="Change a stack's deployment settings by a JSON merge patch",
        body=ref("DeploymentSettingsRequest"),
        answers={200: ref("DeploymentSettings")},
    ),
    Operation(
        id="DeleteDeploymentSettings",
        method="DELETE",
        path=_BASE,
        tag="Deployments",
        about="Forget a stack's deployment settings; whether it had any",
        answers={200: FLAG},
    ),
    Operation(
        id="EncryptDeploymentSettingsSecret",
        method="POST",
        path=_BASE + "/encrypt",
        tag="Deployments",
        about="Encrypt a secret for a stack's settings and creates",
        body=ref("SecretToEncrypt"),
        answers={200: ref("ShownSecret")},
    ),
)

_PULUMI = re.compile(r"application/vnd\.pulumi\+(\d{1,4})")
# From this version on a client of Pulumi's knows the form that says what is no secret.
_FIRST_WITH_FORMS = 9


def routes(service: Service) -> list[Route]:
    """Return the routes of settings; they come before those of `deployments/{deployment}`."""
    api = _Settings(service)
    return [
        Route(_BASE, api.get, methods=["GET"]),
        Route(_BASE, api.replace, methods=["PUT"]),
        Route(_BASE, api.patch, methods=["POST"]),
        Route(_BASE, api.delete, methods=["DELETE"]),
        Route(_BASE + "/encrypt", api.encrypt, methods=["POST"]),
    ]


class _Settings:
    """The endpoints."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def get(self, request: Request) -> Response:
        caller, stack = caller_of(request), stack_of(request)
        return _answer(request, self._service.settings.get(caller, stack))

    async def replace(self, request: Request) -> Response:
        caller = caller_of(request)
        stack, value = stack_of(request), body.parse(await read_body(request))
        replace = self._service.settings.replace
        return _answer(request, await run_in_threadpool(replace, caller, stack, value))

    async def patch(self, request: Request) -> Response:
        caller = caller_of(request)
        stack, value = stack_of(request), body.parse(await read_body(request))
        patch = self._service.settings.patch
        return _answer(request, await run_in_threadpool(patch, caller, stack, value))

    def delete(self, request: Request) -> Response:
        caller, stack = caller_of(request), stack_of(request)
        return JSONResponse(self._service.settings.delete(caller, stack))

    async def encrypt(self, request: Request) -> Response:
        caller = caller_of(request)
        stack, value = stack_of(request), body.parse(await read_body(request))
        encrypt = self._service.settings.encrypt
        ciphertext = await run_in_threadpool(encrypt, caller, stack, value)
        return JSONResponse(_secret(request, {"ciphertext": ciphertext}))


def _answer(request: Request, settings: ShownSettings) -> Response:
    shown = change_secrets(settings.body, lambda value, _: _secret(request, value))
    content = dict(shown) if isinstance(shown, dict) else {}
    executor = content.get("executorContext")
    if isinstance(executor, dict) and isinstance(executor.get("executorImage"), str):
        content["executorContext"] = {"executorImage": {"reference": executor["executorImage"]}}
    return JSONResponse({**content, "source": "api", "version": settings.version})


def _secret(request: Request, value: object) -> object:
    """Return what is sealed, or a text that is no secret, in the form that the client reads.

    The Python client reads objects with a key `secret` only, the CLI either; older CLIs, and
    people, a bare text where there is no secret.
    """
    if not _reads_forms(request.headers.get("accept", "")):
        return value
    if isinstance(value, str):
        return {"isSecret": False, "value": value, "plaintext": value, "secret": ""}
    return {"secret": "", **value} if isinstance(value, dict) else value


def _reads_forms(accept: str) -> bool:
    pulumi = _PULUMI.match(accept)
    if pulumi is not None:
        return int(pulumi[1]) >= _FIRST_WITH_FORMS
    return accept.partition(",")[0].partition(";")[0].strip() == "application/json"
