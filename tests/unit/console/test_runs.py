from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from reconciler.api.types import Job, JobStatus, LogLine, Step, StepStatus
from reconciler.console.runs import (
    Failure,
    failure_of,
    length,
    lines_of,
    past_of,
    run_view,
    telling,
)
from reconciler.console.values import Tone
from tests.factories import NOW, deployment

SECOND = timedelta(seconds=1)


def step(name: str, status: StepStatus, begins_s: float = 0, takes_s: float = 0) -> Step:
    if status is StepStatus.NOT_STARTED:
        return Step(name=name)
    begun = NOW + begins_s * SECOND
    return Step(name=name, status=status, started=begun, last_updated=begun + takes_s * SECOND)


def of(status: JobStatus, *steps: Step) -> Job:
    ends = max(s.last_updated for s in steps)
    return Job(status=status, started=NOW, last_updated=ends, steps=steps)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (0.44, "0.4 s"),
        (12.9, "12 s"),
        (185, "3:05"),
        (3723, "1:02:03"),
        (-5, "0.0 s"),
    ],
)
def test_a_length_reads_like_a_clock(seconds: float, text: str) -> None:
    """Tenths of few seconds, then seconds, minutes and hours."""
    assert length(timedelta(seconds=seconds)) == text


def test_steps_have_their_lengths() -> None:
    """What has ended took its time, what runs has run up to now, the longest fills its bar."""
    job = of(
        JobStatus.RUNNING,
        step("Get source", StepStatus.SUCCEEDED, 0, 5),
        step("Pulumi operation", StepStatus.RUNNING, 5, 1),
        step("Clean up", StepStatus.NOT_STARTED),
    )
    found = run_view(replace(deployment(), jobs=(job,)), NOW + 25 * SECOND)
    shown = [(s.name, s.took, s.share, s.tone) for s in found.steps]
    assert shown == [
        ("Get source", "5.0 s", 25, Tone.GOOD),
        ("Pulumi operation", "20 s", 100, Tone.BUSY),
        ("Clean up", "", 0, Tone.WAITS),
    ]
    assert (found.live, found.took) == (True, "25 s")


def test_an_ended_one_took_from_its_begin_to_its_end() -> None:
    """The time in the queue is told apart from the run's own."""
    job = of(JobStatus.FAILED, step("Pulumi operation", StepStatus.FAILED, 0, 90))
    ended = replace(
        deployment(JobStatus.FAILED), created=NOW - 7 * SECOND, status=JobStatus.FAILED, jobs=(job,)
    )
    found = run_view(ended, NOW + timedelta(days=1))
    assert (found.waited, found.took, found.live, found.tone) == ("7.0 s", "1:30", False, Tone.BAD)
    assert past_of(ended).ended == NOW + 90 * SECOND


def test_one_without_jobs_is_shown_by_its_own_times() -> None:
    """A list leaves the jobs out: its times are those of the deployment."""
    short = replace(
        deployment(JobStatus.SUCCEEDED), jobs=(), created=NOW, modified=NOW + 9 * SECOND
    )
    found = past_of(short)
    assert (found.begun, found.ended) == (NOW, NOW + 9 * SECOND)


def test_lines_have_times_and_steps_have_headers() -> None:
    """A line is its time and its pieces; a header stands by itself, with nothing that acts."""
    stamp = int(NOW.timestamp()) * 10**9 + 5
    found = list(
        lines_of(
            [
                LogLine(header="Get\0source"),
                LogLine(line="\x1b[31mno\x1b[0m\n", timestamp_ns=stamp),
                LogLine(line="later\n", timestamp_ns=10**40),
            ]
        )
    )
    assert [(each.time, each.header) for each in found] == [
        ("", "Get␀source"),
        ("12:00:00", ""),
        ("", ""),
    ]
    assert [(p.text, p.style) for p in found[1].pieces] == [("no", "fg-red")]


def logged(*texts: str) -> list[LogLine]:
    """Lines of a log; `=== ` begins a header."""
    return [
        LogLine(header=text[4:]) if text.startswith("=== ") else LogLine(line=f"{text}\n")
        for text in texts
    ]


FAILED = replace(
    deployment(),
    status=JobStatus.FAILED,
    jobs=(
        of(
            JobStatus.FAILED,
            step("Get source", StepStatus.SUCCEEDED),
            step("Pulumi operation", StepStatus.FAILED),
        ),
    ),
)


@pytest.mark.parametrize(
    ("lines", "line", "text"),
    [
        (
            ("    \x1b[31merror: \x1b[0mquota exceeded", "    error: update failed", "[ended]"),
            4,
            "error: quota exceeded",
        ),
        (("  Error: no such property", "Cannot assign"), 4, "Error: no such property"),
        (("error: update failed", ""), 4, "error: update failed"),
        (("at the end", "  "), 4, "at the end"),
        (("  0%\r 50%\rerror: late",), 4, "error: late"),
        ((), 2, "error: of another step"),
    ],
)
def test_why_it_failed_is_found_in_its_log(lines: tuple[str, ...], line: int, text: str) -> None:
    """The last error of the failed step says most; where there is none, its end, or the log's."""
    found = failure_of(
        FAILED,
        logged("=== Get Source", "error: of another step", "=== Pulumi operation", *lines),
    )
    assert (found.step, found.line, found.text) == ("Pulumi operation", line, text)
    assert found.told == f"step 'Pulumi operation' failed: {text}"


def test_what_did_not_fail_has_no_reason() -> None:
    """Of a success nothing is told, whatever its log holds; of an empty log the step alone."""
    assert failure_of(deployment(), logged("error: harmless")) == Failure()
    found = failure_of(FAILED, ())
    assert (found.told, found.line) == ("step 'Pulumi operation' failed", 0)
    assert len(telling(["error: " + "x" * 1000])[1]) == 301
