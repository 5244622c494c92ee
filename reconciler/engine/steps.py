"""The steps of a deployment, and the commands and surroundings of each. Pure.

What is started, with which arguments and which environment, is decided here; `execution`
starts it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from reconciler.api.types import (
    MARKER_PREFIX,
    DeploymentRequest,
    Operation,
    Secret,
    StackRef,
    Step,
)
from reconciler.engine.runners.base import Command

__all__ = [
    "BadLine",
    "PlannedStep",
    "Programs",
    "StepKind",
    "aws_region",
    "base_environment",
    "build",
    "cancel_command",
    "header",
    "host_path",
    "initial_steps",
    "install_command",
    "kind_of",
    "operation_command",
    "parse_pulumi_env",
    "pre_run_command",
    "program_environment",
    "stack_init_command",
    "stack_rm_command",
    "without_host_files",
]

# The only variables of the engine's own that a deployment sees: how to find programs, speak
# its language, tell the time, and reach the world. Everything else may be a secret.
PASSED_ON = re.compile(
    r"(?:PATH|LANG|LC_[A-Z]+|TZ|SSL_CERT_FILE|SSL_CERT_DIR|"
    r"(?:https?|ftp|all|no)_proxy|(?:HTTPS?|FTP|ALL|NO)_PROXY)\Z"
)

_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]{0,254})=(.*)\Z", re.DOTALL)

# As many as a request may carry; a file that is larger was not written on purpose.
LARGEST_PULUMI_ENV_BYTES = 1024 * 1024


class StepKind(StrEnum):
    """What a step does."""

    EXECUTOR = "executor"
    CREDENTIALS = "credentials"
    SOURCE = "source"
    DEPENDENCIES = "dependencies"
    PRE_RUN = "pre-run"
    OPERATION = "operation"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStep:
    """One step; `command` is the shell command of a pre-run step."""

    name: str
    kind: StepKind
    command: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """The host's programs, by their paths."""

    pulumi: str
    shell: str


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line of PULUMI_ENV, counted from 1, that is none; its text may be a secret."""

    number: int


# What the official service calls its steps; those of pre-run commands are numbered.
_NAMES = {
    StepKind.EXECUTOR: "Download deployment executor",
    StepKind.CREDENTIALS: "Fetch provider credentials via OIDC",
    StepKind.SOURCE: "Get source",
    StepKind.DEPENDENCIES: "Download dependencies",
    StepKind.OPERATION: "Pulumi operation",
}
_KINDS = {name: kind for kind, name in _NAMES.items()}


def _step(kind: StepKind) -> PlannedStep:
    return PlannedStep(name=_NAMES[kind], kind=kind)


def build(request: DeploymentRequest[Secret]) -> tuple[PlannedStep, ...]:
    """Return the steps of a deployment, in order; the Pulumi operation is always the last."""
    steps = [_step(StepKind.EXECUTOR)]
    if request.oidc.asked:
        steps.append(_step(StepKind.CREDENTIALS))
    steps.append(_step(StepKind.SOURCE))
    if not request.skip_install_dependencies:
        steps.append(_step(StepKind.DEPENDENCIES))
    steps += [
        PlannedStep(name=f"Pre-run command {number}", kind=StepKind.PRE_RUN, command=command)
        for number, command in enumerate(request.pre_run_commands, start=1)
    ]
    steps.append(_step(StepKind.OPERATION))
    return tuple(steps)


def kind_of(name: str) -> StepKind:
    """Return what a step of that name does."""
    return _KINDS.get(name, StepKind.PRE_RUN)


def initial_steps(request: DeploymentRequest[Secret]) -> tuple[Step, ...]:
    """Return the steps as the API shows them before any has started."""
    return tuple(Step(name=step.name) for step in build(request))


def header(step_name: str) -> str:
    """Return what begins a step's part of a log: two of the API's are not the steps' names.

    It must never read `pulumi update`, at which the Pulumi CLI asks for engine events.
    """
    return {
        "Get source": "Get Source",
        "Download dependencies": "Download Dependencies",
    }.get(step_name, step_name)


# ---------------------------------------------------------------- environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """The directories of one deployment that its programs are told of."""

    home: Path
    temporary: Path
    pulumi_home: Path


def base_environment(
    engine: Mapping[str, str], home: Home, before: str, after: str
) -> dict[str, str]:
    """Return what every program of a deployment sees, git too.

    `engine` is the engine's own environment; `before` and `after` are the directories that
    are put around its PATH: pulumi's, and the one of the engine's Python.
    """
    passed = {name: value for name, value in engine.items() if PASSED_ON.match(name)}
    return passed | {
        "PATH": host_path(engine, before, after),
        "HOME": str(home.home),
        "TMPDIR": str(home.temporary),
        "PULUMI_HOME": str(home.pulumi_home),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }


def host_path(engine: Mapping[str, str], before: str, after: str) -> str:
    """Return the engine's own PATH with a directory before it and one after it; empty: none."""
    path = engine.get("PATH") or "/usr/local/bin:/usr/bin:/bin"
    return ":".join(part for part in (before, path, after) if part)


def without_host_files(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that mean something where the host's files are not."""
    return {
        name: value
        for name, value in environment.items()
        if name not in {"SSL_CERT_FILE", "SSL_CERT_DIR"}
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """The layers of a program's environment, from the lowest to the highest.

    `passphrase` encrypts the secrets of stacks that bring none of their own; `hints` and
    `credentials` come with what clouds gave, below and above the request's own variables;
    `exported` is what pre-run commands wrote to PULUMI_ENV; `reserved` is over everything.
    """

    base: Mapping[str, str] = field(repr=False)
    passphrase: str = field(repr=False)
    hints: Mapping[str, str] = field(default_factory=dict)
    request: DeploymentRequest[Secret]
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    exported: Mapping[str, str] = field(repr=False)
    reserved: Mapping[str, str] = field(repr=False)


def program_environment(layers: Layers) -> dict[str, str]:
    """Return what pre-run commands and pulumi see; the marker is not in it."""
    environment = {**layers.base, **layers.hints}
    for variable in layers.request.environment:
        value = variable.value
        environment[variable.name] = value if isinstance(value, str) else value.value
    environment |= {**layers.credentials, **layers.exported}
    for name in [name for name in environment if name.startswith(MARKER_PREFIX)]:
        del environment[name]
    if not {"PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"} & environment.keys():
        environment["PULUMI_CONFIG_PASSPHRASE"] = layers.passphrase
    return environment | dict(layers.reserved)


def aws_region(request: DeploymentRequest[Secret]) -> str:
    """Return the AWS region that a request's plain variables name, or an empty text."""
    plain = {v.name: v.value for v in request.environment if isinstance(v.value, str)}
    return plain.get("AWS_REGION", "") or plain.get("AWS_DEFAULT_REGION", "")


def parse_pulumi_env(content: str) -> dict[str, str] | BadLine:
    """Read `NAME=value` lines: the value verbatim after the first `=`; empty lines are none."""
    found: dict[str, str] = {}
    for number, line in enumerate(content.split("\n"), start=1):
        text = line.removesuffix("\r")
        if not text.strip():
            continue
        match = _VARIABLE.match(text)
        if match is None or "\0" in text:
            return BadLine(number)
        found[match[1]] = match[2]
    return found


# ---------------------------------------------------------------- commands

_OPERATIONS = {
    Operation.UPDATE: ("up", "--yes", "--skip-preview"),
    Operation.PREVIEW: ("preview",),
    # A create that was cut off is looked for no more: what it made, if anything, a person
    # finds in the cloud; kept as pending it would hold every later operation.
    Operation.REFRESH: ("refresh", "--yes", "--skip-preview", "--clear-pending-creates"),
    Operation.DESTROY: ("destroy", "--yes", "--skip-preview"),
    Operation.DETECT_DRIFT: ("refresh", "--preview-only", "--expect-no-changes"),
    Operation.REMEDIATE_DRIFT: ("up", "--refresh", "--yes", "--skip-preview"),
}


def install_command(programs: Programs, cwd: Path, environment: Mapping[str, str]) -> Command:
    """Install what the program in `cwd` needs."""
    argv = (programs.pulumi, "install", "--non-interactive", "--color", "always")
    return Command(argv=argv, cwd=cwd, environment=environment)


def pre_run_command(
    programs: Programs, text: str, cwd: Path, environment: Mapping[str, str]
) -> Command:
    """Run one pre-run command in a shell of its own."""
    return Command(argv=(programs.shell, "-c", text), cwd=cwd, environment=environment)


def stack_init_command(
    programs: Programs, stack: StackRef, cwd: Path, environment: Mapping[str, str]
) -> Command:
    """Make the stack in its backend."""
    argv = (programs.pulumi, "stack", "init", "--no-select", *_common(stack))
    return Command(argv=argv, cwd=cwd, environment=environment)


def operation_command(
    programs: Programs,
    target: tuple[Operation, StackRef],
    cwd: Path,
    environment: Mapping[str, str],
) -> Command:
    """Run the operation on the stack."""
    operation, stack = target
    argv = (programs.pulumi, *_OPERATIONS[operation], "--suppress-progress", *_common(stack))
    return Command(argv=argv, cwd=cwd, environment=environment)


def cancel_command(
    programs: Programs, stack: StackRef, cwd: Path, environment: Mapping[str, str]
) -> Command:
    """Free the stack's lock."""
    argv = (programs.pulumi, "cancel", "--yes", *_common(stack))
    return Command(argv=argv, cwd=cwd, environment=environment)


def stack_rm_command(
    programs: Programs,
    stack: StackRef,
    cwd: Path,
    environment: Mapping[str, str],
    *,
    force: bool = False,
) -> Command:
    """Delete the stack from its backend; only with `force` one that has resources."""
    argv = (programs.pulumi, "stack", "rm", "--yes", "--preserve-config")
    forced = ("--force",) if force else ()
    return Command(argv=(*argv, *forced, *_common(stack)), cwd=cwd, environment=environment)


def _common(stack: StackRef) -> tuple[str, ...]:
    """Return the flags of all of them; a file backend knows one organization, by that name."""
    name = f"organization/{stack.project}/{stack.stack}"
    return ("--non-interactive", "--color", "always", "-s", name)
