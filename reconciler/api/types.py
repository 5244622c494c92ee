"""The words of the Pulumi Deployments API, as values. Pure.

A deployment is one run of one operation on one stack; it has jobs, and jobs have steps.
How each value looks on the wire is said in `dialects`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Generic, TypeVar

from reconciler.api.oidc import NO_OIDC, Oidc

__all__ = [
    "MARKER_PREFIX",
    "PREVIEW_OPERATIONS",
    "RESERVED_VARIABLES",
    "UNSET_TIME",
    "BasicAuth",
    "Created",
    "Deployment",
    "DeploymentRequest",
    "Ending",
    "EndingKind",
    "EnvironmentVariable",
    "GitAuth",
    "GitSource",
    "Job",
    "JobStatus",
    "LogLine",
    "Operation",
    "Options",
    "Secret",
    "ShownVariable",
    "SshAuth",
    "StackRef",
    "Step",
    "StepStatus",
    "User",
    "map_secrets",
]

# What an unset time reads as on the wire.
UNSET_TIME = datetime(1, 1, 1, tzinfo=UTC)

# The engine sets these last, over everything, so a spec or request that sets one is mistaken.
RESERVED_VARIABLES = frozenset(
    {
        "PULUMI_CI_BUILD_URL",
        "PULUMI_CI_SYSTEM",
        "PULUMI_CI_BUILD_NUMBER",
        "PULUMI_CI_BUILD_ID",
        "PULUMI_ACCESS_TOKEN",
        "PULUMI_BACKEND_URL",
    }
)

# The environment variable whose *name* carries who asked for a deployment:
# RECONCILER_RUN_<owner>_<run id>_<digest8>. A name is never hidden as a secret, as a value may be.
MARKER_PREFIX = "RECONCILER_RUN_"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\Z")


class Operation(StrEnum):
    """What a deployment runs: `pulumi up`, `preview`, `refresh` or `destroy`, or about drift.

    `detect-drift` looks whether what is there is what the state says; `remediate-drift` makes
    it what the program says. The API of 2022 has neither.
    """

    UPDATE = "update"
    PREVIEW = "preview"
    REFRESH = "refresh"
    DESTROY = "destroy"
    DETECT_DRIFT = "detect-drift"
    REMEDIATE_DRIFT = "remediate-drift"

    @property
    def changes_nothing(self) -> bool:
        """Whether it leaves the stack, and what is there, as they are."""
        return self in {Operation.PREVIEW, Operation.DETECT_DRIFT}

    @property
    def looks_for_drift(self) -> bool:
        """Whether what it finds to change is drift."""
        return self in {Operation.REFRESH, Operation.DETECT_DRIFT}

    @property
    def brings_up(self) -> bool:
        """Whether it makes the stack what the program says."""
        return self in {Operation.UPDATE, Operation.REMEDIATE_DRIFT}


# Those of the API of 2022, which are those of a spec too.
PREVIEW_OPERATIONS = (
    Operation.UPDATE,
    Operation.PREVIEW,
    Operation.REFRESH,
    Operation.DESTROY,
)


class JobStatus(StrEnum):
    """How a deployment (or its job) stands. A canceled one reads `failed`."""

    NOT_STARTED = "not-started"
    ACCEPTED = "accepted"
    RUNNING = "running"
    FAILED = "failed"
    SUCCEEDED = "succeeded"
    SKIPPED = "skipped"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self in _ENDED

    @property
    def queued(self) -> bool:
        """Whether it waits for its turn."""
        return self in {JobStatus.NOT_STARTED, JobStatus.ACCEPTED}


_ENDED = frozenset({JobStatus.FAILED, JobStatus.SUCCEEDED, JobStatus.SKIPPED})


class StepStatus(StrEnum):
    """How a step stands."""

    NOT_STARTED = "not-started"
    RUNNING = "running"
    FAILED = "failed"
    SUCCEEDED = "succeeded"


class EndingKind(StrEnum):
    """Why a deployment that reads `failed` or `skipped` ended so, where that is known."""

    CANCELED = "canceled"  # someone cancelled it
    INTERRUPTED = "interrupted"  # its process was lost while Pulumi ran: the state may lag behind
    LOST = "lost"  # its process was lost before Pulumi ran: nothing has happened
    EXPIRED = "expired"  # it waited in the queue for too long
    SUPERSEDED = "superseded"  # a newer one of its kind in the queue made it needless


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Why a deployment ended other than by its own exit code; `message` is for a person."""

    kind: EndingKind
    message: str


@dataclass(frozen=True, slots=True, order=True)
class StackRef:
    """One stack: organization/project/stack, each of letters, digits, `_`, `.` and `-`."""

    organization: str
    project: str
    stack: str

    @classmethod
    def parse(cls, text: str) -> StackRef:
        """Read `organization/project/stack`; ValueError says what is wrong with it."""
        parts = text.split("/")
        if len(parts) != 3:  # noqa: PLR2004 - organization, project, stack
            raise ValueError(f"{text!r} is not organization/project/stack")
        for part in parts:
            if not cls.is_name(part):
                raise ValueError(
                    f"{part!r} is not a name: 1 to 100 letters, digits, '_', '.' or '-', "
                    "beginning with a letter or digit"
                )
        return cls(*map(sys.intern, parts))

    @staticmethod
    def is_name(text: str) -> bool:
        """Whether `text` can be one of the three parts."""
        return _NAME.match(text) is not None

    def __str__(self) -> str:
        return f"{self.organization}/{self.project}/{self.stack}"


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret's value. Neither `repr` nor `str` shows it; `value` is read where it is sent."""

    value: str = field(repr=False)

    def __str__(self) -> str:
        return "[secret]"


# What stands where a secret belongs: the value itself, or a reference to it (a spec's).
S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class SshAuth(Generic[S]):
    """An SSH private key and its passphrase."""

    private_key: S | str
    password: S | str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BasicAuth(Generic[S]):
    """A user name (plain, or in today's dialect a secret) and a password."""

    user_name: S | str
    password: S | str


@dataclass(frozen=True, slots=True, kw_only=True)
class GitAuth(Generic[S]):
    """How to get into a private repository: exactly one of the three is set."""

    access_token: S | str | None = None
    ssh: SshAuth[S] | None = None
    basic: BasicAuth[S] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GitSource(Generic[S]):
    """Where the program is: exactly one of branch, commit and tag is set (empty: not set).

    `branch` is as it was written, `x` or `refs/heads/x`; `branch_name` is the short form.
    `repo_dir` is relative to the repository's root, which an empty one means.
    """

    repo_url: str
    branch: str = ""
    commit: str = ""
    tag: str = ""
    repo_dir: str = ""
    auth: GitAuth[S] | None = None

    @property
    def branch_name(self) -> str:
        """The branch without `refs/heads/`."""
        return self.branch.removeprefix("refs/heads/")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentVariable(Generic[S]):
    """A variable the deployment sees; a plain value is literal, nothing expands it."""

    name: str
    value: S | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What today's `operationContext.options` adds to how a deployment is run.

    `skip_intermediate`: older ones of its stack and operation that wait beside it are skipped.
    `shell` runs the pre-run commands; empty: bash. `delete_after_destroy`: the stack goes too.
    `remediate_drift`: drift that is found is undone at once.
    """

    skip_intermediate: bool = False
    shell: str = ""
    delete_after_destroy: bool = False
    remediate_drift: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentRequest(Generic[S]):
    """What a create asks for.

    `S` is `Secret` on its way over the wire, and `reconciler.model.SecretReference` in a spec.
    `environment` is sorted by name. `oidc` holds no secret, only names of what to become. `cache`
    asks that dependencies are kept for the next one.
    """

    operation: Operation = Operation.UPDATE
    source: GitSource[S]
    executor_image: str = ""
    image_credentials: BasicAuth[S] | None = None
    pre_run_commands: tuple[str, ...] = ()
    environment: tuple[EnvironmentVariable[S], ...] = ()
    skip_install_dependencies: bool = False
    options: Options = Options()
    oidc: Oidc = NO_OIDC
    cache: bool = False
    inherit_settings: bool = False


def map_secrets(request: DeploymentRequest[S], change: Callable[[S], T]) -> DeploymentRequest[T]:
    """Return the request with `change` applied to every secret, and nothing else changed."""

    def each(value: S | str) -> T | str:
        return value if isinstance(value, str) else change(value)

    def optional(value: S | str | None) -> T | str | None:
        return None if value is None else each(value)

    def basic(auth: BasicAuth[S] | None) -> BasicAuth[T] | None:
        if auth is None:
            return None
        return BasicAuth(user_name=each(auth.user_name), password=each(auth.password))

    def git(auth: GitAuth[S] | None) -> GitAuth[T] | None:
        if auth is None:
            return None
        ssh: SshAuth[T] | None = None
        if auth.ssh is not None:
            ssh = SshAuth(
                private_key=each(auth.ssh.private_key), password=optional(auth.ssh.password)
            )
        return GitAuth(access_token=optional(auth.access_token), ssh=ssh, basic=basic(auth.basic))

    source = request.source
    return DeploymentRequest(
        operation=request.operation,
        source=GitSource(
            repo_url=source.repo_url,
            branch=source.branch,
            commit=source.commit,
            tag=source.tag,
            repo_dir=source.repo_dir,
            auth=git(source.auth),
        ),
        executor_image=request.executor_image,
        image_credentials=basic(request.image_credentials),
        pre_run_commands=request.pre_run_commands,
        environment=tuple(
            EnvironmentVariable(name=v.name, value=each(v.value)) for v in request.environment
        ),
        skip_install_dependencies=request.skip_install_dependencies,
        options=request.options,
        oidc=request.oidc,
        cache=request.cache,
        inherit_settings=request.inherit_settings,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who asked for a deployment."""

    name: str = ""
    github_login: str = ""
    avatar_url: str = ""
    email: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a job; the times are `UNSET_TIME` until it starts."""

    name: str
    status: StepStatus = StepStatus.NOT_STARTED
    started: datetime = UNSET_TIME
    last_updated: datetime = UNSET_TIME


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job; today a deployment has exactly one."""

    status: JobStatus = JobStatus.NOT_STARTED
    started: datetime = UNSET_TIME
    last_updated: datetime = UNSET_TIME
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownVariable:
    """An environment variable as a GET shows it; a secret has no value."""

    name: str
    value: str = ""
    secret: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """The answer to a create."""

    id: str
    version: int
    console_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A deployment as the API tells of it. A list leaves the parts with defaults out.

    `version` counts 1, 2, 3… per stack. `operation` and `stack` are None where the dialect
    does not say them. `ending` is what our own engine adds.
    """

    id: str
    version: int
    status: JobStatus
    created: datetime
    modified: datetime
    requested_by: User = User()
    operation: Operation | None = None
    stack: StackRef | None = None
    jobs: tuple[Job, ...] = ()
    latest_version: int = 0
    environment: tuple[ShownVariable, ...] = ()
    source: GitSource[Secret] | None = None
    initiator: str = ""
    ending: Ending | None = None

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of all jobs, in order."""
        return tuple(step for job in self.jobs for step in job.steps)

    @property
    def marker(self) -> str:
        """The name of the variable that says who asked for it, or an empty text."""
        return next((v.name for v in self.environment if v.name.startswith(MARKER_PREFIX)), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A line of a log, or the header that begins a step's.

    `timestamp_ns` counts nanoseconds since 1970, and is None for a header. `line` keeps its
    own line ending.
    """

    line: str = ""
    header: str = ""
    timestamp_ns: int | None = None
