"""`reconciler doctor`: looks at the machine, and says what is not right and what to do.

Each check finds its facts in a thread of its own (`doctor_host`, `doctor_api`), and has what
they mean from `checkup`. One that does not answer in time is told as such, and holds up nobody.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Final

from reconciler.checkup import Finding, Level, count, judging, judging_api, worst
from reconciler.cli import doctor_api, doctor_host
from reconciler.cli.look import BOLD, DIM, GREEN, RED, YELLOW, Look, look, printable
from reconciler.errors import ReconcilerError

__all__ = ["Check", "carry_out", "run"]

COLOURS: Final = {
    Level.OK: (GREEN,),
    Level.SKIPPED: (DIM,),
    Level.WARNING: (YELLOW,),
    Level.UNKNOWN: (YELLOW, BOLD),
    Level.PROBLEM: (RED, BOLD),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing to look at: the names it is told under, and what finds out and judges."""

    names: tuple[str, ...]
    look: Callable[[], Iterable[Finding]]


def run(options: argparse.Namespace) -> int:
    """Look, and print; 0 where there is no problem and every check was answered, else 1."""
    limit_s = options.timeout.total_seconds()
    found = carry_out(_checks(options, limit_s), limit_s)
    if options.output == "json":
        print(json.dumps([_object(finding) for finding in found], indent=2, ensure_ascii=False))
    else:
        print("\n".join(_lines(found, look(sys.stdout, os.environ))))
    return 1 if worst(found) in {Level.PROBLEM, Level.UNKNOWN} else 0


def _checks(options: argparse.Namespace, limit_s: float) -> Sequence[Check]:
    """Return all checks, in the order that they are told in."""
    where = doctor_host.places(options)
    specs = cache(partial(doctor_host.specs, where))
    deploying: tuple[Check, ...]
    if where.deploys_here:
        deploying = (
            Check(
                names=("pulumi",),
                look=lambda: [judging.pulumi(doctor_host.pulumi(limit_s))],
            ),
            Check(
                names=("runner", "limits"),
                look=lambda: judging.sandbox(doctor_host.sandbox(options.runner or "")),
            ),
        )
    else:
        deploying = tuple(
            Check(names=(name,), look=partial(_elsewhere, name, where.api_host))
            for name in ("pulumi", "runner", "limits")
        )
    return (
        *deploying,
        Check(names=("git",), look=lambda: [judging.git(doctor_host.git(limit_s))]),
        Check(names=("specs",), look=lambda: [judging.specs(specs())]),
        Check(names=("state",), look=lambda: judging.kept(doctor_host.kept(where), "state")),
        Check(names=("keys",), look=lambda: judging.kept(doctor_host.keys(where), "keys")),
        Check(names=("disk",), look=lambda: judging.disk(doctor_host.disks(where))),
        Check(names=("watching",), look=lambda: [judging.watching(doctor_host.watching(where))]),
        Check(
            names=("api", "token", "clock"),
            look=lambda: judging_api.contact(doctor_api.contact(where), specs().organizations),
        ),
        Check(names=("service",), look=lambda: judging.enclosed(doctor_host.enclosed(where))),
    )


def _elsewhere(name: str, host: str) -> Iterable[Finding]:
    return [judging.not_here(name, host)]


def carry_out(checks: Sequence[Check], limit_s: float) -> list[Finding]:
    """Carry all out side by side, and return what they found, in their order.

    What has not answered after `limit_s` is UNKNOWN; its thread goes with the process.
    """
    answers: queue.SimpleQueue[tuple[int, list[Finding]]] = queue.SimpleQueue()

    def one(number: int) -> None:
        answers.put((number, _answer(checks[number])))

    for number in range(len(checks)):
        threading.Thread(target=one, args=(number,), daemon=True).start()
    deadline = time.monotonic() + limit_s
    found: dict[int, list[Finding]] = {}
    while len(found) < len(checks):
        try:
            number, answer = answers.get(timeout=max(deadline - time.monotonic(), 0.001))
        except queue.Empty:
            break
        found[number] = answer
    late = f"no answer within {limit_s:.0f} s"
    return [
        finding
        for number, check in enumerate(checks)
        for finding in (found[number] if number in found else _unknown(check, late))
    ]


def _answer(check: Check) -> list[Finding]:
    try:
        return list(check.look())
    except ReconcilerError as error:
        return [
            Finding(check=check.names[0], level=Level.PROBLEM, message=str(error)),
        ]
    except OSError as error:
        return _unknown(check, error.strerror or type(error).__name__)
    except Exception as error:  # noqa: BLE001 - one check that is broken must not hide the others
        return _unknown(check, f"it could not be looked at ({type(error).__name__})")


def _unknown(check: Check, why: str) -> list[Finding]:
    fix = "look again; give it longer by `--timeout`"
    return [Finding(check=name, level=Level.UNKNOWN, message=why, fix=fix) for name in check.names]


def _lines(found: Sequence[Finding], how: Look) -> Iterable[str]:
    names = max(len(finding.check) for finding in found)
    for finding in found:
        level = how.paint(f"{finding.level:<8}", *COLOURS[finding.level])
        yield f"{level} {finding.check:<{names}}  {printable(finding.message)}"
        if finding.fix:
            yield f"{'':<8} {'':<{names}}  → {printable(finding.fix)}"
    yield count(found)


def _object(finding: Finding) -> dict[str, str]:
    return {
        "check": finding.check,
        "level": str(finding.level),
        "message": finding.message,
        "fix": finding.fix,
    }
