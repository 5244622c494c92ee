"""What the reconciler measures of itself. Pure: a table, which docs/metrics.md shows.

No measure has a label with a spec's name, a stack or an organization: of 10,000 specs each such
label is 10,000 series a measure, which costs a Prometheus more than everything else here. How
one spec stands, its status file says; here they are counted by how they stand.
"""

from __future__ import annotations

from reconciler.metrics import OPERATION, Kind, Label, Measure

__all__ = ["MEASURES"]

_CAUSES = (
    *("new", "change", "source", "retry", "schedule", "trigger"),
    *("dependency", "drift", "foreign", "approval", "expiry", "removal"),
)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# A deployment: from a stack without a change to a cluster that is made.
_LONG = (2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0)
# From a change to its create: at once, or after a window, an approval or a full house.
_WAITS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0)
# How many names a pass looks at.
_NAMES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)

SPECS = Measure(
    name="reconciler_specs",
    kind=Kind.GAUGE,
    about="Specs by how they stand.",
    labels=(
        Label(
            "state",
            (
                *("Ready", "Progressing", "Waiting", "Failed", "Stalled"),
                *("Invalid", "Suspended", "Conflict", "Unknown"),
            ),
        ),
        Label("reason", about="a reason of docs/status.md; those that no spec has are left out"),
    ),
)
DRIFTED = Measure(
    name="reconciler_specs_drifted",
    kind=Kind.GAUGE,
    about="Specs whose stack is known to be other than its state says.",
)
IN_FLIGHT = Measure(
    name="reconciler_deployments_in_flight",
    kind=Kind.GAUGE,
    about="Deployments of ours that were asked for and have not ended, queued ones included.",
)
MASSES = Measure(
    name="reconciler_masses_held",
    kind=Kind.GAUGE,
    about="Changes or removals of very many specs at once that wait for a person.",
)
LAST_PASS = Measure(
    name="reconciler_last_pass_timestamp_seconds",
    kind=Kind.GAUGE,
    about="When the loop last began a pass, in Unix time: more than a minute ago, and it hangs.",
)
PASS = Measure(
    name="reconciler_pass_duration_seconds",
    kind=Kind.HISTOGRAM,
    about="How long passes took that looked at a name at least.",
    buckets=_SECONDS,
)
PASS_NAMES = Measure(
    name="reconciler_pass_names",
    kind=Kind.HISTOGRAM,
    about="How many names these passes looked at.",
    buckets=_NAMES,
)
SCAN = Measure(
    name="reconciler_scan_duration_seconds",
    kind=Kind.HISTOGRAM,
    about="How long it took to read the whole directory of specs.",
    buckets=_SECONDS,
)
NOT_DURABLE = Measure(
    name="reconciler_status_write_failures_total",
    kind=Kind.COUNTER,
    about="Status files that could not be written: nothing is started without.",
)
CHANGE_TO_CREATE = Measure(
    name="reconciler_change_to_create_seconds",
    kind=Kind.HISTOGRAM,
    about="From when a changed file, or a branch that has moved, was noticed to its create; "
    "a wait for a window, an approval, a dependency or a free place is part of it.",
    buckets=_WAITS,
)
SLOT_TO_CREATE = Measure(
    name="reconciler_slot_to_create_seconds",
    kind=Kind.HISTOGRAM,
    about="From a schedule's due time to its create.",
    buckets=_WAITS,
)
CREATES = Measure(
    name="reconciler_creates_total",
    kind=Kind.COUNTER,
    about="Deployments asked for; `retry` counts the retries. `lost`: no answer came, and what "
    "became of it is found out; `not-sent`: the API is left alone at that moment.",
    labels=(
        Label("cause", _CAUSES),
        Label("outcome", ("accepted", "refused", "lost", "not-sent")),
    ),
)
CANCELS = Measure(
    name="reconciler_cancels_total",
    kind=Kind.COUNTER,
    about="Deployments of ours that were cancelled, and why; `double` is a second one of one "
    "request.",
    labels=(
        Label("cause", ("request", "timeout", "superseded", "double")),
        Label("outcome", ("accepted", "failed")),
    ),
)
RUNS = Measure(
    name="reconciler_runs_total",
    kind=Kind.COUNTER,
    about="Runs that have ended.",
    labels=(
        OPERATION,
        Label(
            "end",
            (
                *("succeeded", "failed", "canceled", "timed-out", "interrupted"),
                *("locked", "skipped", "refused", "missing"),
            ),
        ),
    ),
)
RUN_DURATION = Measure(
    name="reconciler_run_duration_seconds",
    kind=Kind.HISTOGRAM,
    about="From a run's create until its end was seen.",
    labels=(OPERATION,),
    buckets=_LONG,
)
API_CALLS = Measure(
    name="reconciler_api_calls_total",
    kind=Kind.COUNTER,
    about="Calls of the Deployments API.",
    labels=(
        Label("method", about="GET or POST"),
        Label("status", about="the answer's HTTP status; `none`: no answer came"),
    ),
)
API_DURATION = Measure(
    name="reconciler_api_call_duration_seconds",
    kind=Kind.HISTOGRAM,
    about="How long these calls took.",
    labels=(Label("method", ("GET", "POST")),),
    buckets=_SECONDS,
)
API_SHUT = Measure(
    name="reconciler_api_shut",
    kind=Kind.GAUGE,
    about="What is left alone at this moment, as it is down or refuses us: the API as a whole "
    "(0 or 1), and how many organizations and stacks.",
    labels=(Label("scope", ("api", "organization", "stack")),),
)
API_FAILURES = Measure(
    name="reconciler_api_failures_total",
    kind=Kind.COUNTER,
    about="Calls after which the API, an organization or a stack was left alone for a while.",
    labels=(Label("scope", ("api", "organization", "stack")),),
)
GIT_ASK = Measure(
    name="reconciler_git_ask_duration_seconds",
    kind=Kind.HISTOGRAM,
    about="How long repositories took to tell where their branches and tags point to.",
    labels=(Label("outcome", ("answered", "failed")),),
    buckets=_SECONDS,
)
GIT_REPOSITORIES = Measure(
    name="reconciler_git_repositories",
    kind=Kind.GAUGE,
    about="Repositories that are followed, by whether the last question was answered.",
    labels=(Label("outcome", ("answered", "failed", "asking")),),
)
NEWS = Measure(
    name="reconciler_notifications_total",
    kind=Kind.COUNTER,
    about="Notifications by what became of them, each target for itself; a `failed` one is tried "
    "again, for a day.",
    labels=(
        Label("kind", ("failed", "stalled", "drift", "approval", "recovered", "succeeded")),
        Label("outcome", ("sent", "failed", "given-up")),
    ),
)
NEWS_PENDING = Measure(
    name="reconciler_notifications_pending",
    kind=Kind.GAUGE,
    about="Notifications that are not sent to all their targets yet.",
)
NEWS_AGE = Measure(
    name="reconciler_notifications_age_seconds",
    kind=Kind.GAUGE,
    about="How old the oldest of them is; 0 where none waits.",
)

MEASURES = (
    *(SPECS, DRIFTED, IN_FLIGHT, MASSES, LAST_PASS, PASS, PASS_NAMES, SCAN, NOT_DURABLE),
    *(CHANGE_TO_CREATE, SLOT_TO_CREATE, CREATES, CANCELS, RUNS, RUN_DURATION),
    *(API_CALLS, API_DURATION, API_SHUT, API_FAILURES, GIT_ASK, GIT_REPOSITORIES),
    *(NEWS, NEWS_PENDING, NEWS_AGE),
)
