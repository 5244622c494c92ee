"""What a directory of specs costs: read cold, looked at when nothing changed, and in memory."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jsonschema
import yaml

from reconciler.adapters.credentials import SecretRules
from reconciler.adapters.specs import SpecReader, scan
from tests.bench.figures import Figure, in_turn, timed

__all__ = ["MEASURES"]

COUNT = 10_000
LARGE = 100_000
A_FOLDER = 1_000
ROUNDS = 3

SPEC = """\
# yaml-language-server: $schema=../schemas/deployment.schema.json
#
# The {number}th of many, as large as such a spec mostly is: a source with a token, a few
# variables of which one is a secret, a schedule, and how it is kept.
stack: acme/web/prod-{number}
sourceContext:
  git:
    repoUrl: https://example.com/acme/infra.git
    branch: refs/heads/main
    repoDir: services/web-{number}
    gitAuth: {{accessToken: {{secret: {{fromEnv: RECONCILER_SECRET_GIT}}}}}}
operationContext:
  operation: update
  preRunCommands: ["echo HELLO=world >PULUMI_ENV"]
  environmentVariables:
    AWS_REGION: us-west-2
    REPLICAS: 3
    DB_PASSWORD: {{secret: {{fromFile: db/password}}}}
  options: {{skipInstallDependencies: true}}
  oidc: {{aws: {{roleArn: arn:aws:iam::123456789000:role/deploy, sessionName: web}}}}
labels: {{team: web}}
schedules:
  - {{name: nightly, cron: "H 3 * * *", timeZone: Europe/Berlin, operation: refresh}}
reconcile:
  onChange: [spec, source]
  timeout: 1h
  retry: {{limit: 3, backoff: 30s, maxBackoff: 30m}}
"""

# Measured in a process of its own, with and without specs.
MEMORY = """
import gc, sys
from pathlib import Path
from reconciler.adapters.credentials import SecretRules
from reconciler.adapters.specs import SpecReader

def resident():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

reader = SpecReader(Path(sys.argv[1]), SecretRules())
reader.scan()
before = resident()
reader = SpecReader(Path(sys.argv[2]), SecretRules())
count = len(reader.scan().specs)
print((resident() - before) // count)
"""


def make(root: Path, count: int) -> Path:
    for number in range(count):
        folder = root / f"team-{number // A_FOLDER}"
        if number % A_FOLDER == 0:
            folder.mkdir(parents=True)
        (folder / f"web-{number}.yaml").write_text(SPEC.format(number=number))
    return root


def naively(directory: Path) -> None:
    """Read as one would who knows PyYAML and jsonschema."""
    schema = json.loads(Path("reconciler/schemas/deployment.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    for path in sorted(directory.rglob("*.yaml")):
        tree = yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)
        assert not list(validator.iter_errors(tree))


def bare(directory: Path) -> int:
    """Look at everything and keep nothing."""
    total = 0
    folders = [str(directory)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    total += entry.stat(follow_symlinks=False).st_mtime_ns
    return total


def cold(root: Path) -> Figure:
    directory = make(root / "specs", COUNT)

    def ours() -> None:
        assert len(scan(directory, SecretRules()).specs) == COUNT

    measured, baseline = in_turn(ours, lambda: naively(directory), ROUNDS)
    what = f"{COUNT:,} specs read cold, over CSafeLoader + jsonschema"
    return Figure(what, measured, baseline, "<= 0.20", f"{measured / COUNT * 1e6:.0f} us a spec")


def unchanged(root: Path) -> Figure:
    directory = make(root / "specs", COUNT)
    reader = SpecReader(directory, SecretRules())
    reader.scan()
    gc.freeze()
    measured, baseline = in_turn(reader.scan, lambda: bare(directory), 15)
    what = f"{COUNT:,} specs, none changed, over scandir + stat"
    return Figure(what, measured, baseline, "<= 1.5")


def ten_times_as_many(root: Path) -> Figure:
    few, many = make(root / "few", COUNT), make(root / "many", LARGE)
    readers = SpecReader(few, SecretRules()), SpecReader(many, SecretRules())
    first = timed(readers[1].scan)
    readers[0].scan()
    gc.freeze()
    baseline, measured = in_turn(readers[0].scan, readers[1].scan, 5)
    what = f"{LARGE:,} specs, none changed, over {COUNT:,}"
    return Figure(what, measured, baseline, "<= 13", f"read cold in {first:.1f} s")


def memory(root: Path) -> Figure:
    directory = make(root / "specs", COUNT)
    # What is loaded for the first one, the validator above all, is there once for all.
    command = [sys.executable, "-c", MEMORY, str(make(root / "one", 1)), str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    # A figure of seconds elsewhere: here it is bytes, written as thousandths.
    bytes_a_spec = int(done.stdout)
    return Figure("bytes a spec in memory", bytes_a_spec / 1000, None, "<= 2500")


MEASURES: tuple[Callable[[Path], Figure], ...] = (cold, unchanged, ten_times_as_many, memory)
