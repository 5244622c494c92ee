"""Unit files and control groups, as far as `doctor` reads them."""

from __future__ import annotations

import pytest

from reconciler.cli.service_units import service_of, starts_embedded_engine

GROUPS = [
    ("0::/system.slice/web.service\n", "web.service"),
    ("9:name=systemd:/system.slice/web.service/engine\n8:pids:/other.service\n", "web.service"),
    ("8:pids:/system.slice/web.service\n0::/\n", ""),
    ("0::/user.slice/user-1000.slice/session-3.scope\n", ""),
    ("0::/user.slice/user-1000.slice/user@1000.service/init.scope\n", ""),
    ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/r.service\n", "r.service"),
    ("", ""),
]


@pytest.mark.parametrize(("groups", "service"), GROUPS)
def test_the_service_of_a_process(groups: str, service: str) -> None:
    """It is the innermost one; a session, and a user's own manager, are none."""
    assert service_of(groups) == service


RUN = "ExecStart=/usr/local/bin/reconciler run /etc/specs"
UNITS = [
    (f"[Service]\n{RUN}\n", True),
    (f"[Service]\n{RUN} --api-url http://127.0.0.1:8080\n", False),
    (f"[Service]\n{RUN} \\\n  --api-url http://127.0.0.1:8080\n", False),
    (f"[Service]\nEnvironment=RECONCILER_API_URL=https://x.example\n{RUN}\n", False),
    (f"[Service]\nEnvironmentFile=/etc/default/reconciler\n{RUN}\n", False),
    (f"[Service]\nKillMode=process\n{RUN}\n", False),
    (f"[Service]\nKillMode=mixed\n{RUN}\n", True),
    ("[Service]\nExecStart=/usr/local/bin/reconciler engine serve\n", False),
    ("[Service]\nExecStart=/usr/bin/env reconciler run --once\n", True),
    ("[Service]\nExecStart=/usr/bin/other run\n", False),
]


@pytest.mark.parametrize(("unit", "would"), UNITS)
def test_a_unit_that_would_kill_an_engine(unit: str, would: bool) -> None:  # noqa: FBT001 - a table
    """A reconciler that names no API, in a service that is killed as one, is found."""
    assert starts_embedded_engine(unit) is would
