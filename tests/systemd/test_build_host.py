"""docs/build-host.md is carried out, command by command, with a real systemd."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.pulumi_cli import PROGRAMS, PulumiCli, find
from tests.package import ROOT, build_wheel
from tests.systemd.host import Host

pytestmark = pytest.mark.real

PAGE = (ROOT / "docs/build-host.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
STATUS = (
    "reconciler status /etc/reconciler/deployments.d -o json --data /var/lib/reconciler "
    "--status-dir /var/lib/reconciler/status"
)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A build host with Pulumi in /usr/local/bin, and the wheel where the page wants it."""
    found = Host(tmp_path)
    try:
        wheel = build_wheel(tmp_path)
        shutil.copy(wheel, found.share)
        cli = find()
        assert isinstance(cli, PulumiCli), cli
        for program in cli.directory.iterdir():
            if program.name.startswith(PROGRAMS[0]):
                shutil.copy(program, found.share)
        found.run("mv pulumi* /usr/local/bin/; rm -rf /etc/reconciler /opt/reconciler")
        yield found
    finally:
        found.end()


def state(host: Host) -> str:
    rows = json.loads(host.run(STATUS))
    return rows[0]["state"] if rows else ""


@pytest.mark.timeout(600)
def test_the_page_is_run(host: Host) -> None:
    """Each block does what it says; both services work, tell how they are, outlive a hang."""
    assert len(BLOCKS) == 9
    last = BLOCKS.pop()
    for block in BLOCKS:
        host.run(block)
        if "systemctl status" in block:
            host.eventually(lambda: state(host) == "Ready", "the spec is Ready")
    for unit in ("reconciler", "reconciler-engine"):
        assert host.property(unit, "ActiveState") == "active"
        assert host.property(unit, "NRestarts") == "0"
    host.eventually(
        lambda: host.property("reconciler", "StatusText") == "1 specs: 1 Ready", "the status line"
    )
    engine = host.property("reconciler-engine", "StatusText")
    assert engine == "listening on http://127.0.0.1:8080"
    backups(host)
    hang(host)
    host.run(last)
    assert host.property("reconciler", "ActiveState") == "inactive"


def backups(host: Host) -> None:
    """Cron adds one, and removes what is old; it and the key make a data directory anew."""
    folder = "/var/backups/reconciler"
    old = f"{folder}/engine-2026-01-01-023000.tgz"
    host.run(
        f"touch -d '15 days ago' {old}; while [ -e {folder}/*-$(date +%F-%H%M%S).tgz ]; do :; done"
    )
    line = host.run("cat /etc/cron.d/reconciler-backup")
    found = re.fullmatch(r"(\S+ ){5} *root +(.+)\n", line)
    assert found is not None, line
    assert host.run(f"env -i PATH=/usr/bin:/bin /bin/sh -c '{found[2]}'") == ""
    names = host.run(f"ls {folder}").split()
    assert sum(name.startswith("engine-2") for name in names) == 2, names
    assert sum(name.startswith("reconciler-2") for name in names) == 2, names
    host.run(
        f"""reconciler engine restore "$(ls {folder}/engine-* | tail -n 1)" --data /var/restored
        cp engine.key /var/restored/engine.key
        reconciler engine audit verify --data /var/restored
        tar --list --file "$(ls {folder}/reconciler-* | tail -n 1)" | grep -q hello.status.json"""
    )


def hang(host: Host) -> None:
    """A daemon that hangs is killed by systemd, and its successor goes on."""
    host.run(
        "mkdir -p /run/systemd/system/reconciler.service.d\n"
        "printf '[Service]\\nWatchdogSec=3s\\n' > /run/systemd/system/reconciler.service.d/w.conf\n"
        "systemctl daemon-reload; systemctl restart reconciler"
    )
    pid = host.property("reconciler", "MainPID")
    host.run(f"kill -STOP {pid}")
    host.eventually(lambda: host.property("reconciler", "NRestarts") == "1", "a new start")
    host.eventually(lambda: host.property("reconciler", "ActiveState") == "active", "it works")
    assert host.property("reconciler", "MainPID") != pid
