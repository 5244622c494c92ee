"""The routes that pause and resume, and that say how deployments stand."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from reconciler.api.types import JobStatus, StackRef
from reconciler.engine.http.document import (
    FLAG,
    NUMBER,
    TEXT,
    Operation,
    listed,
    record,
    ref,
)
from reconciler.engine.http.reading import caller_of, organization_of, stack_of
from reconciler.engine.service import Service

__all__ = ["OPERATIONS", "routes"]

_ORGANIZATION = "/api/orgs/{organization}/deployments"
_STACK = "/api/stacks/{organization}/{project}/{stack}/deployments"

_COUNTED = {
    "notStarted": JobStatus.NOT_STARTED,
    "accepted": JobStatus.ACCEPTED,
    "running": JobStatus.RUNNING,
    "failed": JobStatus.FAILED,
    "succeeded": JobStatus.SUCCEEDED,
    "skipped": JobStatus.SKIPPED,
}

OPERATIONS = (
    Operation(
        id="PauseOrgDeployments",
        method="POST",
        path=_ORGANIZATION + "/pause",
        tag="Pauses",
        about="Start no deployment of the organization; those that run go on",
        needs="admin",
    ),
    Operation(
        id="ResumeOrgDeployments",
        method="POST",
        path=_ORGANIZATION + "/resume",
        tag="Pauses",
        about="Start the organization's deployments again",
        needs="admin",
    ),
    Operation(
        id="OrgDeploymentsMetadata",
        method="GET",
        path=_ORGANIZATION + "/metadata",
        tag="Pauses",
        about="How the organization's deployments stand",
        answers={
            200: record(
                {
                    "paused": FLAG,
                    "pausedStacks": listed(TEXT),
                    "concurrency": NUMBER,
                    "deploymentCounts": record(dict.fromkeys((*_COUNTED, "total"), NUMBER)),
                }
            )
        },
    ),
    Operation(
        id="PauseStackDeployments",
        method="POST",
        path=_STACK + "/pause",
        tag="Pauses",
        about="Start no deployment of the stack; one that runs goes on",
    ),
    Operation(
        id="ResumeStackDeployments",
        method="POST",
        path=_STACK + "/resume",
        tag="Pauses",
        about="Start the stack's deployments again",
    ),
    Operation(
        id="StackDeploymentsMetadata",
        method="GET",
        path=_STACK + "/metadata",
        tag="Pauses",
        about="How the stack's deployments stand",
        answers={
            200: record(
                {
                    **dict.fromkeys(("paused", "stackPaused", "organizationPaused"), FLAG),
                    "hasSchedules": FLAG,
                    "drift": ref("DriftStatus"),
                }
            )
        },
    ),
)


def routes(service: Service) -> list[Route]:
    """Return the routes; before those of single deployments, whose ids look like `metadata`."""
    api = _Pauses(service)
    return [
        Route(_ORGANIZATION + "/pause", api.pause_organization, methods=["POST"]),
        Route(_ORGANIZATION + "/resume", api.resume_organization, methods=["POST"]),
        Route(_ORGANIZATION + "/metadata", api.organization),
        Route(_STACK + "/pause", api.pause_stack, methods=["POST"]),
        Route(_STACK + "/resume", api.resume_stack, methods=["POST"]),
        Route(_STACK + "/metadata", api.stack),
    ]


class _Pauses:
    """The endpoints."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def pause_stack(self, request: Request) -> Response:
        self._service.pauses.pause_stack(caller_of(request), stack_of(request))
        return Response()

    def resume_stack(self, request: Request) -> Response:
        self._service.pauses.resume_stack(caller_of(request), stack_of(request))
        return Response()

    def pause_organization(self, request: Request) -> Response:
        self._service.pauses.pause_organization(caller_of(request), organization_of(request))
        return Response()

    def resume_organization(self, request: Request) -> Response:
        self._service.pauses.resume_organization(caller_of(request), organization_of(request))
        return Response()

    def stack(self, request: Request) -> Response:
        state = self._service.pauses.stack_state(caller_of(request), stack_of(request))
        return JSONResponse(
            {
                "paused": state.paused,
                "stackPaused": state.stack_paused,
                "organizationPaused": state.organization_paused,
                "hasSchedules": state.has_schedules,
                "drift": {
                    "driftDetected": state.drift.detected,
                    "latestDriftRun": state.drift.latest,
                    "runInProgress": state.drift.running,
                },
            }
        )

    def organization(self, request: Request) -> Response:
        state = self._service.pauses.organization_state(
            caller_of(request), organization_of(request)
        )
        counts = {name: state.counts.get(status, 0) for name, status in _COUNTED.items()}
        return JSONResponse(
            {
                "paused": state.paused,
                "pausedStacks": [_short(stack) for stack in state.paused_stacks],
                "concurrency": state.concurrency,
                "deploymentCounts": counts | {"total": sum(counts.values())},
            }
        )


def _short(stack: StackRef) -> str:
    return f"{stack.project}/{stack.stack}"
