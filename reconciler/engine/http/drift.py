"""The routes of drift: its runs, and how a stack stands."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from reconciler.api.types import JobStatus, Operation
from reconciler.api.wire import created_text
from reconciler.engine.http.document import NUMBER, Parameter, Schema, listed, record, ref
from reconciler.engine.http.document import Operation as Documented
from reconciler.engine.http.reading import LARGEST_NUMBER, caller_of, stack_of, whole
from reconciler.engine.service import Service
from reconciler.engine.store import DriftRun, Phase

__all__ = ["OPERATIONS", "routes"]

_BASE = "/api/stacks/{organization}/{project}/{stack}/drift"
LARGEST_PAGE = 100


def _number(high: int) -> Schema:
    return {"type": "integer", "minimum": 1, "maximum": high}


OPERATIONS = (
    Documented(
        id="ListDriftRuns",
        method="GET",
        path=_BASE + "/runs",
        tag="Drift",
        about="List a stack's drift runs, the newest first",
        query=(
            Parameter(
                name="page",
                schema=_number(LARGEST_NUMBER // LARGEST_PAGE),
                about="which page, from 1 (1)",
            ),
            Parameter(name="pageSize", schema=_number(LARGEST_PAGE), about="how many (10)"),
        ),
        answers={
            200: record(
                {"driftRuns": listed(ref("DriftRun")), "itemsPerPage": NUMBER, "total": NUMBER}
            )
        },
    ),
    Documented(
        id="GetDriftRun",
        method="GET",
        path=_BASE + "/runs/{driftRunId}",
        tag="Drift",
        about="Get a drift run",
        answers={200: ref("DriftRun")},
    ),
    Documented(
        id="GetStackDriftStatus",
        method="GET",
        path=_BASE + "/status",
        tag="Drift",
        about="Whether a stack has drifted, as far as is known",
        answers={200: ref("DriftStatus")},
    ),
)


def routes(service: Service) -> list[Route]:
    """Return the routes of drift."""
    api = _Drift(service)
    return [
        Route(_BASE + "/runs", api.page),
        Route(_BASE + "/runs/{driftRunId}", api.get),
        Route(_BASE + "/status", api.status),
    ]


class _Drift:
    """The endpoints."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def page(self, request: Request) -> Response:
        caller, stack = caller_of(request), stack_of(request)
        page = whole(request, "page", 1, (1, LARGEST_NUMBER // LARGEST_PAGE))
        size = whole(request, "pageSize", 10, (1, LARGEST_PAGE))
        runs, total = self._service.drift.page(caller, stack, page, size)
        shown = [_shown(run) for run in runs]
        return JSONResponse({"driftRuns": shown, "itemsPerPage": size, "total": total})

    def get(self, request: Request) -> Response:
        caller, stack = caller_of(request), stack_of(request)
        found = self._service.drift.get(caller, stack, request.path_params["driftRunId"])
        return JSONResponse(_shown(found))

    def status(self, request: Request) -> Response:
        caller, stack = caller_of(request), stack_of(request)
        status = self._service.drift.status(caller, stack)
        return JSONResponse(
            {
                "driftDetected": status.detected,
                "latestDriftRun": status.latest,
                "runInProgress": status.running,
            }
        )


def _shown(run: DriftRun) -> dict[str, object]:
    shown: dict[str, object] = {
        "id": run.deployment,
        "driftDetected": run.detected,
        "created": created_text(run.created),
        "status": str(run.status),
        "deploymentId": run.deployment,
        "deploymentVersion": run.version,
    }
    if run.operation is Operation.DETECT_DRIFT:
        shown["detectUpdate"] = _phase(run, run.detection, "detect")
    if run.remediation is not None or run.operation is Operation.REMEDIATE_DRIFT:
        shown["remediateUpdate"] = _phase(run, run.remediation, "remediate")
    return shown


def _phase(run: DriftRun, phase: Phase | None, name: str) -> dict[str, object]:
    """Write a phase; one that has not ended stands as its run does."""
    status, modified, changes = run.status, run.modified, {}
    if phase is not None:
        status = JobStatus.SUCCEEDED if phase.succeeded else JobStatus.FAILED
        modified, changes = phase.at, dict(phase.changes)
    return {
        "updateId": f"{run.deployment}-{name}",
        "resourceChanges": changes,
        "modified": created_text(modified),
        "status": str(status),
    }
