"""The first spec of a repository, with a comment for whatever a person will ask. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from reconciler.importing.yaml_text import MODELINE, scalar

__all__ = ["IGNORED", "FirstSpec", "text"]

# What the reconciler writes beside specs, and no repository is to hold.
IGNORED: Final = """\
# What the reconciler remembers lies beside each spec, and is no part of the repository.
*.status.json
*.status.json.corrupt-*
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstSpec:
    """What is known of a program; `remarks` are said above its source, one a line."""

    stack: str
    repo_url: str
    branch: str = ""
    repo_dir: str = ""
    schema: str = ""
    remarks: tuple[str, ...] = ()


def text(spec: FirstSpec) -> str:
    """Return the spec's text: it is valid as it stands."""
    head = [f"{MODELINE}{spec.schema}", "#"] if spec.schema else []
    head += [
        "# One file is one stack: what it should run, and when.",
        "# `reconciler validate` checks it, `reconciler plan` says what it would do.",
        f"stack: {scalar(spec.stack)}    # organization/project/stack",
        "sourceContext:",
        "  git:",
        *(f"    # {remark}" for remark in spec.remarks),
        f"    repoUrl: {scalar(spec.repo_url)}",
    ]
    if spec.branch:
        head.append(f"    branch: {scalar(spec.branch)}    # a new commit on it starts a run")
    if spec.repo_dir:
        head.append(f"    repoDir: {scalar(spec.repo_dir)}    # where Pulumi.yaml is")
    return "\n".join(head) + "\n" + _REST


_REST: Final = """\
    # A private repository is entered with a token, from a variable of the reconciler's:
    # gitAuth: {accessToken: {secret: {fromEnv: RECONCILER_SECRET_GIT_TOKEN}}}
operationContext:
  operation: update    # what makes the stack as the program says
  # Shell commands before Pulumi; a line NAME=value in the file PULUMI_ENV sets a variable.
  # preRunCommands:
  #   - echo "GREETING=hello" > PULUMI_ENV
  # Variables of the program. A secret never stands here: only where it comes from does.
  # environmentVariables:
  #   AWS_REGION: eu-central-1
  #   DB_PASSWORD: {secret: {fromEnv: RECONCILER_SECRET_DB_PASSWORD}}
# What runs at given times, beside what a change starts. H is a minute that is spread by name.
# schedules:
#   - {name: nightly-refresh, cron: "H 3 * * *", timeZone: Europe/Berlin, operation: refresh}
# reconcile:
#   suspend: true              # start nothing
#   dependsOn: [network-dev]   # names of specs that have to be Ready first
"""
