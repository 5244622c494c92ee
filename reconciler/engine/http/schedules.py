"""The routes of schedules: by cron or once, for drift, and to the end of a stack's life."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from reconciler import cron
from reconciler.api.types import StackRef
from reconciler.api.wire import Pointer, Reader, created_text
from reconciler.engine.http import body
from reconciler.engine.http.document import Operation, Schema, listed, record, ref
from reconciler.engine.http.reading import caller_of, read_body, stack_of
from reconciler.engine.service import Service, ShownSchedule, Wanted
from reconciler.engine.service.errors import refused
from reconciler.engine.store import ScheduleKind
from reconciler.engine.timing import Timing
from reconciler.engine.tokens import Caller

__all__ = ["OPERATIONS", "routes"]

_BASE = "/api/stacks/{organization}/{project}/{stack}/deployments"
_PATHS = {
    ScheduleKind.RAW: _BASE + "/schedules",
    ScheduleKind.DRIFT: _BASE + "/drift/schedules",
    ScheduleKind.TTL: _BASE + "/ttl/schedules",
}
_IDS = {ScheduleKind.RAW: "", ScheduleKind.DRIFT: "Drift", ScheduleKind.TTL: "TTL"}
_ABOUT = {
    ScheduleKind.RAW: "of a deployment",
    ScheduleKind.DRIFT: "of drift detection",
    ScheduleKind.TTL: "that destroys the stack",
}
_ONE = _PATHS[ScheduleKind.RAW] + "/{schedule}"
_ANSWER: Mapping[int, Schema] = {200: ref("ScheduledAction")}


def _changing(kind: ScheduleKind) -> tuple[Operation, ...]:
    name, path = _IDS[kind], _PATHS[kind]
    taken = ref(f"Scheduled{name}DeploymentRequest")
    return (
        Operation(
            id=f"CreateScheduled{name}Deployment",
            method="POST",
            path=path,
            tag="Schedules",
            about=f"Make a schedule {_ABOUT[kind]}",
            body=taken,
            answers=_ANSWER,
        ),
        Operation(
            id=f"UpdateScheduled{name}Deployment",
            method="POST",
            path=path + "/{schedule}",
            tag="Schedules",
            about=f"Replace a schedule {_ABOUT[kind]}",
            body=taken,
            answers=_ANSWER,
        ),
    )


OPERATIONS = (
    *(operation for kind in ScheduleKind for operation in _changing(kind)),
    Operation(
        id="ListScheduledDeployment",
        method="GET",
        path=_PATHS[ScheduleKind.RAW],
        tag="Schedules",
        about="List a stack's schedules of all kinds, the oldest first",
        answers={200: record({"schedules": listed(ref("ScheduledAction"))})},
    ),
    Operation(
        id="ReadScheduledDeployment",
        method="GET",
        path=_ONE,
        tag="Schedules",
        about="Get a schedule of any kind",
        answers=_ANSWER,
    ),
    Operation(
        id="DeleteScheduledDeployment",
        method="DELETE",
        path=_ONE,
        tag="Schedules",
        about="Forget a schedule of any kind; one that is gone is no fault",
    ),
    Operation(
        id="PauseScheduledDeployment",
        method="POST",
        path=_ONE + "/pause",
        tag="Schedules",
        about="Let a schedule start nothing",
    ),
    Operation(
        id="ResumeScheduledDeployment",
        method="POST",
        path=_ONE + "/resume",
        tag="Schedules",
        about="Let a schedule go on, from now",
    ),
    Operation(
        id="ListScheduledDeploymentHistory",
        method="GET",
        path=_ONE + "/history",
        tag="Schedules",
        about="List what a schedule has started, the newest first",
        answers={200: record({"scheduleHistoryEvents": listed(ref("ScheduleEvent"))})},
    ),
)


def routes(service: Service) -> list[Route]:
    """Return the routes of schedules."""
    api = _Schedules(service)
    changing = [
        route
        for kind, path in _PATHS.items()
        for route in (
            Route(path, partial(api.create, kind), methods=["POST"]),
            Route(path + "/{schedule}", partial(api.update, kind), methods=["POST"]),
        )
    ]
    return [
        *changing,
        Route(_PATHS[ScheduleKind.RAW], api.page, methods=["GET"]),
        Route(_ONE, api.get, methods=["GET"]),
        Route(_ONE, api.delete, methods=["DELETE"]),
        Route(_ONE + "/pause", api.pause, methods=["POST"]),
        Route(_ONE + "/resume", api.resume, methods=["POST"]),
        Route(_ONE + "/history", api.history),
    ]


class _Schedules:
    """The endpoints."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def create(self, kind: ScheduleKind, request: Request) -> Response:
        caller = caller_of(request)
        stack, wanted = stack_of(request), _wanted(kind, body.parse(await read_body(request)))
        create = self._service.schedules.create
        return JSONResponse(_shown(await run_in_threadpool(create, caller, stack, wanted)))

    async def update(self, kind: ScheduleKind, request: Request) -> Response:
        caller = caller_of(request)
        stack, wanted = stack_of(request), _wanted(kind, body.parse(await read_body(request)))
        update, schedule_id = self._service.schedules.update, request.path_params["schedule"]
        changed = await run_in_threadpool(update, caller, stack, schedule_id, wanted)
        return JSONResponse(_shown(changed))

    def page(self, request: Request) -> Response:
        caller, stack = caller_of(request), stack_of(request)
        found = self._service.schedules.of_stack(caller, stack)
        return JSONResponse({"schedules": [_shown(schedule) for schedule in found]})

    def get(self, request: Request) -> Response:
        return JSONResponse(_shown(self._service.schedules.get(*_addressed(request))))

    def delete(self, request: Request) -> Response:
        self._service.schedules.delete(*_addressed(request))
        return Response()

    def pause(self, request: Request) -> Response:
        self._service.schedules.pause(*_addressed(request))
        return Response()

    def resume(self, request: Request) -> Response:
        self._service.schedules.resume(*_addressed(request))
        return Response()

    def history(self, request: Request) -> Response:
        caller, stack, schedule_id = _addressed(request)
        taken = self._service.schedules.history(caller, stack, schedule_id)
        events = [
            {
                "id": event.id,
                "scheduledActionID": schedule_id,
                "executed": created_text(event.executed),
                "version": event.version,
                "result": event.result,
                "slot": created_text(event.slot),
                "deploymentId": event.deployment,
            }
            for event in taken
        ]
        return JSONResponse({"scheduleHistoryEvents": events})


def _addressed(request: Request) -> tuple[Caller, StackRef, str]:
    """Return who asks, of which stack, and for which schedule."""
    return caller_of(request), stack_of(request), request.path_params["schedule"]


def _shown(schedule: ShownSchedule) -> dict[str, object]:
    stored = schedule.stored
    timing = stored.timing
    when = (
        {"scheduleCron": timing.cron}
        if timing.once is None
        else {"scheduleOnce": created_text(timing.once)}
    )
    return {
        "id": stored.id,
        "orgID": stored.stack.organization,
        **when,
        "nextExecution": _time(None if stored.paused else stored.next),
        "paused": stored.paused,
        "kind": "deployment",
        "definition": {"programID": str(stored.stack), "request": schedule.body},
        "created": created_text(stored.created),
        "modified": created_text(stored.modified),
        "lastExecuted": _time(stored.last_executed),
    }


def _time(moment: datetime | None) -> str:
    return "" if moment is None else created_text(moment)


# ---------------------------------------------------------------- reading


def _wanted(kind: ScheduleKind, value: object) -> Wanted:
    """Read what a schedule is to be; AnswerError names each field that is wrong."""
    reader = _Reader()
    root = reader.mapping(value, ())
    if not isinstance(value, dict):
        reader.fault((), "a JSON object belongs here")
    read: Mapping[ScheduleKind, Callable[[Mapping[str, object]], Wanted]] = {
        ScheduleKind.RAW: reader.raw,
        ScheduleKind.DRIFT: reader.drift,
        ScheduleKind.TTL: reader.ttl,
    }
    wanted = read[kind](root)
    if reader.faults:
        raise refused(reader.faults)
    return wanted


class _Reader(Reader):
    def raw(self, root: Mapping[str, object]) -> Wanted:
        given = [k for k in ("scheduleCron", "scheduleOnce") if root.get(k) not in (None, "")]
        if len(given) != 1:
            both = "both are set" if given else "neither is set"
            self.fault((), f"one of scheduleCron and scheduleOnce belongs here; {both}")
        timing = Timing(
            cron=self.cron(root.get("scheduleCron")) if "scheduleCron" in given else "",
            once=self.moment(root.get("scheduleOnce"), ("scheduleOnce",))
            if "scheduleOnce" in given
            else None,
        )
        request = self.mapping(root.get("request"), ("request",))
        return Wanted(kind=ScheduleKind.RAW, timing=timing, body=request)

    def drift(self, root: Mapping[str, object]) -> Wanted:
        option = self.flag(root.get("autoRemediate"), ("autoRemediate",), default=False)
        if root.get("scheduleCron") in (None, ""):
            self.fault(("scheduleCron",), 'is required: five fields, such as "0 */4 * * *"')
        return Wanted(
            kind=ScheduleKind.DRIFT,
            timing=Timing(cron=self.cron(root.get("scheduleCron"))),
            body=_body("detect-drift", {"remediateIfDriftDetected": option}),
        )

    def ttl(self, root: Mapping[str, object]) -> Wanted:
        at = ("deleteAfterDestroy",)
        option = self.flag(root.get("deleteAfterDestroy"), at, default=False)
        if root.get("timestamp") in (None, ""):
            self.fault(("timestamp",), "is required: a time such as 2027-01-01T00:00:00Z")
        once = self.moment(root.get("timestamp"), ("timestamp",))
        return Wanted(
            kind=ScheduleKind.TTL,
            timing=Timing(once=once),
            body=_body("destroy", {"deleteAfterDestroy": option}),
        )

    def cron(self, value: object) -> str:
        text = " ".join(self.text(value, ("scheduleCron",)).split())
        wrong = cron.check(text) if text else ""
        if wrong:
            self.fault(("scheduleCron",), wrong)
        return text

    def moment(self, value: object, at: Pointer) -> datetime | None:
        text = self.text(value, at)
        if not text:
            return None
        try:
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is None:
                raise ValueError  # noqa: TRY301 - the same fault
            return moment.astimezone(UTC)
        except (ValueError, OverflowError):
            right = "is no time with a zone; give one such as 2027-01-01T00:00:00Z"
            self.fault(at, right)
            return None


def _body(operation: str, options: Mapping[str, object]) -> dict[str, object]:
    return {
        "operation": operation,
        "inheritSettings": True,
        "operationContext": {"options": dict(options)},
    }
