"""What an engine's servers and workers measure of themselves. Pure: a table, as `of_loop` is.

Where several share a database, each counts what it did itself, and their sum is right; what is
read from the database (the queue, what runs, the workers) each of them shows alike.
"""

from __future__ import annotations

from reconciler.metrics import OPERATION, Kind, Label, Measure

__all__ = ["MEASURES"]

_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LONG = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0)
_WAITS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0)

QUEUED = Measure(
    name="reconciler_engine_deployments_queued",
    kind=Kind.GAUGE,
    about="Deployments that wait to be run.",
)
QUEUE_AGE = Measure(
    name="reconciler_engine_queue_age_seconds",
    kind=Kind.GAUGE,
    about="How long the longest waiting of them has waited; 0 where none does.",
)
RUNNING = Measure(
    name="reconciler_engine_deployments_running",
    kind=Kind.GAUGE,
    about="Deployments that run, on all workers.",
)
RUNNING_HERE = Measure(
    name="reconciler_engine_deployments_running_here",
    kind=Kind.GAUGE,
    about="Deployments that this process runs.",
)
PLACES = Measure(
    name="reconciler_engine_places",
    kind=Kind.GAUGE,
    about="How many deployments this process runs at once.",
)
WORKERS = Measure(
    name="reconciler_engine_workers",
    kind=Kind.GAUGE,
    about="Workers of the database that are alive; 1 where the engine is alone.",
)
ENDED = Measure(
    name="reconciler_engine_deployments_ended_total",
    kind=Kind.COUNTER,
    about="Deployments whose end this process recorded. `ending` says why, where that was not "
    "by the deployment's own doing.",
    labels=(
        OPERATION,
        Label("status", ("succeeded", "failed", "skipped")),
        Label("ending", ("none", "canceled", "interrupted", "lost", "expired", "superseded")),
    ),
)
REQUEUED = Measure(
    name="reconciler_engine_deployments_requeued_total",
    kind=Kind.COUNTER,
    about="Deployments that went back to the queue, as their worker was lost or stopped before "
    "Pulumi ran.",
)
DURATION = Measure(
    name="reconciler_engine_deployment_duration_seconds",
    kind=Kind.HISTOGRAM,
    about="How long deployments ran, from the first step's begin to the last one's end.",
    labels=(OPERATION,),
    buckets=_LONG,
)
STEP = Measure(
    name="reconciler_engine_step_duration_seconds",
    kind=Kind.HISTOGRAM,
    about="How long steps took.",
    labels=(
        Label(
            "step",
            ("executor", "credentials", "source", "dependencies", "pre-run", "operation"),
        ),
        Label("status", ("succeeded", "failed")),
    ),
    buckets=_LONG,
)
QUEUE_WAIT = Measure(
    name="reconciler_engine_queue_wait_seconds",
    kind=Kind.HISTOGRAM,
    about="From a deployment's create until it began; behind another one of its stack, or in a "
    "pause, that is long.",
    buckets=_WAITS,
)
DISPATCH = Measure(
    name="reconciler_engine_dispatch_duration_seconds",
    kind=Kind.HISTOGRAM,
    about="How long the dispatcher took to look at the queue and start what may start.",
    buckets=_SECONDS,
)
LOG_BYTES = Measure(
    name="reconciler_engine_log_bytes_total",
    kind=Kind.COUNTER,
    about="What was written to deployments' logs, in the form it is kept in; counted at the end "
    "of each step.",
)
MASKED = Measure(
    name="reconciler_engine_secrets_masked_total",
    kind=Kind.COUNTER,
    about="How often a secret was found in a deployment's output and masked.",
)
HTTP_REQUESTS = Measure(
    name="reconciler_engine_http_requests_total",
    kind=Kind.COUNTER,
    about="Requests of the API.",
    labels=(
        Label("method", about="as the routes have it"),
        Label("route", about="a route of docs/api.md, with its parameters' names"),
        Label("status", about="the answer's HTTP status"),
    ),
)
HTTP_DURATION = Measure(
    name="reconciler_engine_http_request_duration_seconds",
    kind=Kind.HISTOGRAM,
    about="How long requests took until their answer began.",
    labels=(Label("method", about="as the routes have it"),),
    buckets=_SECONDS,
)

MEASURES = (
    *(QUEUED, QUEUE_AGE, RUNNING, RUNNING_HERE, PLACES, WORKERS, ENDED, REQUEUED, DURATION),
    *(STEP, QUEUE_WAIT, DISPATCH, LOG_BYTES, MASKED, HTTP_REQUESTS, HTTP_DURATION),
)
