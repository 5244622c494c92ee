"""Walks through the steps of one deployment, writes their logs and records how they ended.

What is to be run, `steps` decides; that a state is durable before the next thing is done, and
that every end has its reason, is kept here.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

from reconciler.api.types import DeploymentRequest, Ending, EndingKind, Operation, Secret
from reconciler.engine import project, steps
from reconciler.engine.drift import Tail
from reconciler.engine.logs import StepLog
from reconciler.engine.measuring import measure_step_output
from reconciler.engine.model import Event, Record, Requeued, StepFailed, StepSucceeded
from reconciler.engine.oidc.claims import Deployed
from reconciler.engine.oidc.obtain import CredentialsError
from reconciler.engine.oidc.published import Published
from reconciler.engine.oidc.run_identity import RunIdentity
from reconciler.engine.outcome import Hands, operate
from reconciler.engine.remote_backend import already_there
from reconciler.engine.runners.base import (
    Command,
    Image,
    Inside,
    Needs,
    OnOutput,
    Place,
    PlaceError,
    Process,
    Surroundings,
)
from reconciler.engine.secrets_box import KeyFileError
from reconciler.engine.source_step import SourceStep
from reconciler.engine.sources.fetching import SourceError
from reconciler.engine.state import StackState, StateGoneError, ask, free_lock
from reconciler.engine.steps import PlannedStep, Programs, StepKind
from reconciler.engine.stopping import CommandRun, Patience, StopKind
from reconciler.engine.store import Claim, DatabaseLostError, FencedError
from reconciler.engine.tools import Tools
from reconciler.engine.validation import (
    MOST_MASKED_LINES,
    exported_secrets,
    masked_lines,
    proxy_secrets,
    secret_values,
)
from reconciler.engine.workspace import Workspace, remove_workspace, workspace_of
from reconciler.errors import NotDurableError
from reconciler.masking import Redactor
from reconciler.pulumi_cli import PulumiCli

__all__ = ["Execution"]

_log = logging.getLogger(__name__)

# What Pulumi needs to say good-bye after a second interrupt, before it is killed.
SECOND_GRACE_S = 30.0

# How long the end of an engine may be held up by an operation: within systemd's usual 90 s.
SHUTDOWN = Patience(first_s=45.0, second_s=15.0)

# How often to try again to write down a state that the disk did not take.
RECORD_AGAIN = timedelta(seconds=1)

T = TypeVar("T")

# What pulumi itself never ends with: 128 + N is signal N.
_SIGNALED = range(129, 128 + 65)


class StepError(Exception):
    """A step cannot be done; the message is for its log."""


# What says for a deployment's log why a step cannot be done.
_REASONS = (
    StepError,
    CredentialsError,
    StateGoneError,
    PlaceError,
    SourceError,
    project.ProjectError,
)


class Execution:
    """One deployment's run. `run` and `clean` are one thread's; `stop` may be any's."""

    def __init__(
        self, tools: Tools, record: Record, claim: Claim, stopping: threading.Event
    ) -> None:
        """Prepare; `stopping` is set when the engine is to end."""
        self.record = record
        self.claim = claim
        self._tools = tools
        self._stopping = stopping
        self._workspace = Workspace(workspace_of(tools, claim))
        self._state = StackState(
            tools.backend(record.stack), record.stack, self._workspace.identity
        )
        surroundings = Surroundings(
            workspace=self._workspace.root,
            writable=(
                *self._state.writable,
                tools.layout.plugins(record.stack.organization),
                *tools.config.allow_write,
            ),
            caches=(tools.layout.plugins(record.stack.organization),),
            hidden=(tools.layout.data, *tools.config.hide),
        )
        self._needs = Needs(
            deployment_id=record.id, surroundings=surroundings, limits=tools.config.limits
        )
        self._commands = CommandRun()
        self._redactor = Redactor()
        self._exported: dict[str, str] = {}
        self._exported_secrets: set[str] = set()
        self._tail = Tail()
        self._closing = ExitStack()
        about = Deployed(
            stack=record.stack, operation=record.operation, version=record.version, id=record.id
        )
        self._identity = RunIdentity(tools.oidc, about, self._workspace.identity)
        self._asked_to_stop = threading.Event()
        self._abandoned = False

    def stop(self, kind: StopKind) -> None:
        """Ask the run to end; returns at once."""
        patience = SHUTDOWN
        if kind is StopKind.CANCEL:
            grace_s = self._tools.config.cancel_grace.total_seconds()
            patience = Patience(first_s=grace_s, second_s=SECOND_GRACE_S)
        self._asked_to_stop.set()
        self._commands.stop(kind, patience)

    def abandon(self) -> None:
        """End it at once, and record nothing more: it is another worker's, or will be."""
        self._abandoned = True
        self._asked_to_stop.set()
        self._commands.abandon()

    def run(self) -> None:
        """Walk through the steps, and record the end of the deployment."""
        try:
            self._walk_all()
        except (NotDurableError, DatabaseLostError) as error:
            _log.error("deployment %s is left to be settled: %s", self.record.id, error)
        except Exception:  # noqa: BLE001 - whatever it was, the deployment must end
            _log.exception("deployment %s broke off", self.record.id)
            self._record(StepFailed(self._tools.clock.now()))

    def clean(self) -> None:
        """Give the place up, and delete the workspace."""
        self._closing.close()
        remove_workspace(self._workspace.root)

    def _walk_all(self) -> None:
        try:
            self._request = self._patiently(partial(self._tools.request, self.record.id))
        except KeyFileError as error:
            self._fail_before(str(error))
            return
        plan = steps.build(self._request)
        for position, step in enumerate(plan):
            last = position + 1 == len(plan)
            log = self._patiently(partial(self._tools.logs.open, self.claim, position))
            try:
                with self._tools.tracer.span(f"step {step.kind}", {"step": step.name}) as span:
                    event = self._walk(step, log, last=last)
                    if not isinstance(event, StepSucceeded):
                        span.fail("it failed" if isinstance(event, StepFailed) else "queued anew")
            finally:
                log.close()
                measure_step_output(self._tools.meter, log.written, self._redactor.masked)
                self._redactor.masked = 0
            self._record(event)
            if isinstance(event, StepFailed):
                self._tell(event, step.name)
            if isinstance(event, StepFailed | Requeued) or self._abandoned:
                return

    def _tell(self, failed: StepFailed, step: str) -> None:
        """Tell the engine's own log, in words that the API has, too, where a deployment ended."""
        if self._abandoned:
            return
        canceled = failed.ending is not None and failed.ending.kind is EndingKind.CANCELED
        _log.log(
            logging.INFO if canceled else logging.WARNING,
            "deployment %s: version %d of %s %s in step %r",
            self.record.id,
            self.record.version,
            self.record.stack,
            "was canceled" if canceled else "has failed",
            step,
        )

    # ------------------------------------------------------------ one step

    def _walk(self, step: PlannedStep, log: StepLog, *, last: bool) -> Event:
        """Do one step and return how it ended; its last log line says why it failed."""
        self._killed_by_signal = False
        try:
            succeeded = self._do(step, log)
        except _REASONS as error:
            succeeded = False
            log.note(self._redactor.mask_text(str(error)))
        except Exception:  # noqa: BLE001 - whatever it was, the step has failed
            succeeded = False
            _log.exception("deployment %s: step %r broke", self.record.id, step.name)
            log.note("the engine itself failed in this step; its own log says how")
        now = self._tools.clock.now()
        stopped = self._commands.asked is not None and not (succeeded and last)
        if succeeded and not stopped:
            return StepSucceeded(now)
        if self._commands.asked is StopKind.SHUTDOWN and step.kind is not StepKind.OPERATION:
            log.note("the engine was stopped before Pulumi ran: it goes back to the queue")
            return Requeued(now)
        ending = self._ending(step.kind)
        if ending is not None:
            log.note(ending.message)
        return StepFailed(now, ending)

    def _do(self, step: PlannedStep, log: StepLog) -> bool:
        """Do what the step's kind says, and return whether it succeeded."""
        match step.kind:
            case StepKind.EXECUTOR:
                return self._prepare(log)
            case StepKind.CREDENTIALS:
                return self._obtain(log)
            case StepKind.SOURCE:
                return self._get_source(log)
            case StepKind.DEPENDENCIES:
                environment = self._see_state()
                command = steps.install_command(self._programs, self._directory(), environment)
                return self._succeeds(command, log)
            case StepKind.PRE_RUN:
                return self._pre_run(step.command, log)
            case StepKind.OPERATION:
                return self._operate(log)

    def _prepare(self, log: StepLog) -> bool:
        """Make the workspace and everything the other steps need."""
        tools, record = self._tools, self.record
        token = secrets.token_urlsafe(32)
        self._passphrase = self._patiently(partial(tools.passphrase, record.stack))
        self._redactor = Redactor(
            (*secret_values(self._request), token, self._passphrase, *self._state.secrets)
        )
        self._reserved = tools.reserved(record.stack, record.id, record.version).variables()
        self._reserved["PULUMI_ACCESS_TOKEN"] = token
        self._workspace.make(tools.layout.plugins(record.stack.organization))
        self._state.prepare()
        image = tools.runners.meant(_image(self._request))
        runner = tools.runners.of(image)
        self._place = place = runner.open(replace(self._needs, image=image))
        self._closing.callback(place.close)
        if self._into(log, "the executor", place.prepare) != 0:
            return False
        inside = place.inside or self._of_host(runner.name)
        shell = self._request.options.shell or inside.shell
        self._programs = Programs(pulumi=inside.pulumi, shell=shell)
        home = steps.Home(
            home=self._workspace.home,
            temporary=self._workspace.temporary,
            pulumi_home=self._workspace.pulumi_home,
        )
        self._host_base = steps.base_environment(
            tools.environment, home, before="", after=tools.python_directory
        )
        # By its id, whatever is left of a deployment is found after the engine was lost.
        self._host_base["PULUMI_CI_BUILD_ID"] = record.id
        self._redactor.add(*proxy_secrets(self._host_base))
        self._base = self._host_base | {"PATH": inside.path}
        if place.inside is not None:
            self._base = {**inside.environment, **steps.without_host_files(self._base)}
        self._give(self._identity.begin(self._request.oidc))
        log.note(f"Using pulumi {inside.version} {inside.described}")
        return True

    def _of_host(self, runner: str) -> Inside:
        """Return the programs of this host."""
        cli = self._tools.find_pulumi()
        if not isinstance(cli, PulumiCli):
            raise StepError(cli)
        path = steps.host_path(
            self._tools.environment, str(cli.directory), self._tools.python_directory
        )
        return Inside(
            pulumi=str(cli.program),
            version=cli.version,
            shell=self._tools.shell,
            path=path,
            described=f"of this host, with the {runner} runner",
        )

    def _obtain(self, log: StepLog) -> bool:
        """Get credentials of clouds for the deployment's token."""
        oidc, region = self._request.oidc, steps.aws_region(self._request)
        self._give(
            self._identity.obtain(
                oidc,
                region,
                self._asked_to_stop,
                lambda text: log.note(self._redactor.mask_text(text)),
            )
        )
        return True

    def _give(self, given: Published) -> None:
        """Have the logs hide what is new, and the place have its files."""
        self._redactor.add(*given.secrets)
        # What opens the backend may be there as well.
        if given.files or self._state.secrets:
            self._place.send(self._workspace.identity)

    def _get_source(self, log: StepLog) -> bool:
        source = self._request.source
        # What follows says nothing until it is there, which may take minutes.
        log.note(self._redactor.mask_text(f"Fetching {source.repo_url}"))
        step = SourceStep(self._tools, self._needs, self._commands, log)
        organization = self.record.stack.organization
        if not step.get(source, organization, self._host_base, self._redactor):
            return False
        commit = project.head_commit(self._workspace.source)
        project.check(self._directory(), self.record.stack.project)
        self._place.send(self._workspace.source)
        if commit:
            log.note(f"Commit: {commit}")
        log.note(self._redactor.mask_text(f"Successfully cloned: {source.repo_url}"))
        return True

    def _pre_run(self, text: str, log: StepLog) -> bool:
        directory = self._directory()
        project.empty_pulumi_env(directory)
        exchanged = directory / project.PULUMI_ENV
        self._place.send(exchanged)
        command = steps.pre_run_command(self._programs, text, directory, self._see())
        if not self._succeeds(command, log):
            return False
        self._place.fetch(exchanged)
        # The command may have moved the directory away, or put a link in its place.
        content = project.read_pulumi_env(self._directory())
        exported = steps.parse_pulumi_env(content)
        if isinstance(exported, steps.BadLine):
            raise StepError(
                f"PULUMI_ENV, line {exported.number}: is not NAME=value "
                "(letters, digits and '_' before the first '=')"
            )
        secret = exported_secrets(exported)
        self._exported_secrets |= secret
        if masked_lines(self._exported_secrets) > MOST_MASKED_LINES:
            raise StepError(f"PULUMI_ENV: more than {MOST_MASKED_LINES} values look like secrets")
        self._redactor.add(*secret)
        self._exported |= exported
        return True

    def _operate(self, log: StepLog) -> bool:
        """Run the Pulumi operation, on a stack that is made first where it is new."""
        stack, directory, environment = self.record.stack, self._directory(), self._see_state()
        stacks = self._tools.store.stacks
        known = self._patiently(partial(stacks.get, stack))
        initialized = known is not None and known.initialized
        init = steps.stack_init_command(self._programs, stack, directory, environment)
        if self._state.is_new(initialized=initialized) and not self._make_stack(init, log):
            return False
        if not initialized:
            self._patiently(partial(stacks.mark_initialized, stack))
        rm = steps.stack_rm_command(self._programs, stack, directory, environment)
        hands = Hands(
            run=partial(self._pulumi, log, init),
            tail=lambda: self._tail.text,
            remove=partial(self._succeeds, rm, log),
            note=log.note,
            keep=self._patiently,
        )
        return operate(self._tools, self.record, self._request.options, hands)

    def _pulumi(self, log: StepLog, init: Command, operation: Operation) -> int | None:
        """Run an operation on the stack, and free a lock that it has left."""
        stack, directory, environment = self.record.stack, self._directory(), self._see_state()
        target = (operation, stack)
        command = steps.operation_command(self._programs, target, directory, environment)
        begun, locked_before = self._tools.clock.now(), self._state.is_locked()
        code = self._run(command, log, self._place, gentle=True)
        self._killed_by_signal = code in _SIGNALED
        cut_off = self._killed_by_signal or self._commands.cut_off or self._state.looked_at
        if code and cut_off and not locked_before and self._is_ours():
            # Whoever held it is gone with the process tree, and this stack runs once at a time.
            free = steps.cancel_command(self._programs, stack, directory, environment)
            # To look may take a minute: by then the lock may be of the stack's next deployment.
            if self._state.was_left_locked(self._place, init, begun) and self._is_ours():
                self._free(free, log)
        return code

    def _is_ours(self) -> bool:
        """Whether nobody has taken the deployment over: its stack is theirs to settle."""
        holds = self._tools.store.deployments.holds
        return not self._abandoned and self._patiently(partial(holds, self.claim))

    def _make_stack(self, init: Command, log: StepLog) -> bool:
        if self._state.looked_at:
            return self._succeeds(init, log)
        code, output = ask(self._place, init)
        if code == 0 or already_there(output):
            return True
        log.write(self._redactor.mask_text(output).encode())
        log.end_line()
        return False

    def _see_state(self) -> dict[str, str]:
        """Return the environment of Pulumi's own commands."""
        return self._state.opened(self._see())

    # ------------------------------------------------------------ inside

    def _directory(self) -> Path:
        """Return the program's directory, looked up anew: a command may have changed it."""
        return project.locate(self._workspace.source, self._request.source.repo_dir)

    def _see(self) -> dict[str, str]:
        """Return the environment of the next command."""
        return steps.program_environment(
            steps.Layers(
                base=self._base,
                passphrase=self._passphrase,
                hints=self._identity.given.hints,
                request=self._request,
                credentials=self._identity.given.variables,
                exported=self._exported,
                reserved=self._reserved,
            )
        )

    def _succeeds(self, command: Command, log: StepLog) -> bool:
        return self._run(command, log, self._place) == 0

    def _run(
        self, command: Command, log: StepLog, place: Place, *, gentle: bool = False
    ) -> int | None:
        """Run a command into the log; None where it was not started, as a stop was asked."""
        name = Path(command.argv[0]).name
        return self._into(log, name, partial(place.start, command), gentle=gentle)

    def _into(
        self,
        log: StepLog,
        name: str,
        start: Callable[[OnOutput], Process],
        *,
        gentle: bool = False,
    ) -> int | None:
        """Do as `_run` with what is started."""
        redactor, tail = self._redactor, Tail()
        if gentle:
            self._tail = tail

        def on_output(output: bytes) -> None:
            shown = redactor.feed(output)
            log.write(shown)
            if gentle:
                tail.add(shown)

        try:
            code = self._commands.run(partial(start, on_output), gentle=gentle)
        except OSError as error:
            raise StepError(f"{name} cannot be started: {error.strerror}") from error
        rest = redactor.flush()
        log.write(rest)
        tail.add(rest)
        log.end_line()
        if code and self._commands.asked is None:
            log.note(_exit_text(name, code))
        return code

    def _free(self, command: Command, log: StepLog) -> None:
        freed = free_lock(self._place, command)
        log.note("the stack's lock was freed" if freed else "the stack's lock could not be freed")

    def _ending(self, kind: StepKind) -> Ending | None:
        """Say why the deployment ends here, where that was not by the step's own doing."""
        asked, operating = self._commands.asked, kind is StepKind.OPERATION
        pending = (
            "; pending operations may exist: look at what it was changing, then refresh the stack"
        )
        forced = pending if self._commands.cut_off or self._killed_by_signal else ""
        if asked is StopKind.CANCEL:
            return _canceled(forced)
        if asked is StopKind.SHUTDOWN and operating:
            message = f"the engine was stopped while Pulumi ran{forced}"
            return Ending(kind=EndingKind.INTERRUPTED, message=message)
        if operating and self._killed_by_signal:
            message = f"Pulumi was killed while it ran{pending}"
            return Ending(kind=EndingKind.INTERRUPTED, message=message)
        return None

    def _fail_before(self, message: str) -> None:
        """End a deployment whose request cannot be read."""
        with_log = self._tools.logs.open(self.claim, 0)
        with_log.note(message)
        with_log.close()
        failed = StepFailed(self._tools.clock.now())
        self._record(failed)
        self._tell(failed, self.record.steps[0].name if self.record.steps else "")

    def _record(self, event: Event) -> None:
        """Make an event durable before anything else is done, however long the disk is full.

        When the engine stops meanwhile, its next start settles the deployment.
        """
        try:
            if not self._abandoned:
                self._patiently(partial(self._keep, event))
        except FencedError as error:
            _log.error("deployment %s: %s", self.record.id, error)
            self.abandon()

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Return what the database answers, asked again while it cannot and this is to go on."""
        while True:
            try:
                return ask()
            except (NotDurableError, DatabaseLostError) as error:
                _log.error("deployment %s: %s; trying again", self.record.id, error)
                if self._stopping.is_set() or self._abandoned:
                    raise
                clock = self._tools.clock
                clock.wait_until(clock.now() + RECORD_AGAIN, self._stopping)

    def _keep(self, event: Event) -> None:
        """Record an event once: also where it was recorded and the answer was lost."""

        def decide(found: Record) -> Event | None:
            # With this claim nobody but us walks through the steps.
            if found.status.ended or found.steps != self.record.steps:
                return None
            if isinstance(event, Requeued) and found.cancel_asked:
                return StepFailed(event.at, _canceled())
            return event

        found, _ = self._tools.store.deployments.change(self.record.id, decide, self.claim)
        self.record = found


def _canceled(more: str = "") -> Ending:
    return Ending(kind=EndingKind.CANCELED, message=f"the deployment was canceled{more}")


def _image(request: DeploymentRequest[Secret]) -> Image:
    """Return the image the request asks for. A line end behind a value came with its file."""
    auth = request.image_credentials
    if auth is None:
        return Image(reference=request.executor_image)
    user, password = (
        (value if isinstance(value, str) else value.value).rstrip("\r\n")
        for value in (auth.user_name, auth.password)
    )
    return Image(reference=request.executor_image, user_name=user, password=password)


def _exit_text(program: str, code: int) -> str:
    how = (
        f"was ended by signal {code - 128}" if code in _SIGNALED else f"ended with exit code {code}"
    )
    return f"[{program} {how}]"
