"""Settles, when an engine starts, what the one before it has left: nothing is run twice.

A deployment that was running has lost whoever ran it. What is left of its processes is ended
first, then a lock of its own is freed, and only then does it read `failed`; dying in between
does no harm, since the next start finds it running still.
"""

from __future__ import annotations

import logging

from reconciler.api.types import Ending, EndingKind
from reconciler.engine import steps
from reconciler.engine.execution import remove_workspace
from reconciler.engine.model import Record, StepFailed, running_step
from reconciler.engine.runners.base import Needs, Surroundings
from reconciler.engine.state import StackState, free_lock
from reconciler.engine.steps import Programs
from reconciler.engine.tools import Tools
from reconciler.pulumi_cli import PulumiCli

__all__ = ["settle"]

_log = logging.getLogger(__name__)

_PENDING = (
    "pending operations may exist: look at what it was changing, then refresh the stack, "
    "which clears them"
)


def settle(tools: Tools) -> None:
    """Settle every deployment that was running, and delete all workspaces."""
    for record in tools.store.deployments.running():
        ended = tools.runners.end_strays(record.id)
        freed = record.in_operation and _free_own_lock(tools, record)
        ending = _ending(record)
        position = running_step(record)
        log = tools.logs.open(record.id, position)
        if freed:
            log.note("the stack's lock was freed")
        log.note(ending.message)
        log.close()
        tools.store.deployments.apply(record.id, StepFailed(tools.clock.now(), ending))
        _log.warning(
            "deployment %s of %s: %s (%d processes ended)",
            record.id,
            record.stack,
            ending.message,
            ended,
        )
    if tools.layout.work.exists():
        for workspace in tools.layout.work.iterdir():
            remove_workspace(workspace)


def _ending(record: Record) -> Ending:
    if record.cancel_asked:
        lost = f"; the engine was lost while Pulumi ran, {_PENDING}" if record.in_operation else ""
        return Ending(kind=EndingKind.CANCELED, message=f"the deployment was canceled{lost}")
    if record.in_operation:
        message = f"the engine was lost while Pulumi ran; {_PENDING}"
        return Ending(kind=EndingKind.INTERRUPTED, message=message)
    message = "the engine was lost before Pulumi ran: nothing has happened"
    return Ending(kind=EndingKind.LOST, message=message)


def _free_own_lock(tools: Tools, record: Record) -> bool:
    """Free the stack's lock where it was made after this deployment's operation had begun.

    Until then Pulumi would not have begun either, had somebody else held it; and since then
    nobody else can have got it.
    """
    begun = record.steps[-1].started
    cli = tools.find_pulumi()
    if not isinstance(cli, PulumiCli):
        _log.error("a lock of %s stays, if there is one: %s", record.stack, cli)
        return False
    root = tools.layout.work / record.id
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    backend = tools.backend(record.stack)
    state = StackState(backend, record.stack, root)
    state.prepare()
    home = steps.Home(home=root, temporary=root, pulumi_home=root / "settle")
    base = steps.base_environment(
        tools.environment, home, before=str(cli.directory), after=tools.python_directory
    )
    environment = state.opened(
        base
        | {
            "PULUMI_BACKEND_URL": backend.url,
            "PULUMI_CONFIG_PASSPHRASE": tools.passphrase(record.stack),
            "PULUMI_CI_BUILD_ID": record.id,
        }
    )
    programs = Programs(pulumi=str(cli.program), shell=tools.shell)
    surroundings = Surroundings(
        workspace=root,
        writable=state.writable,
        hidden=(tools.layout.data, *tools.config.hide),
    )
    place = tools.runners.host.open(Needs(deployment_id=record.id, surroundings=surroundings))
    # Pulumi makes stacks in a project's folder only.
    (root / "Pulumi.yaml").write_text(f"name: {record.stack.project}\nruntime: yaml\n")
    init = steps.stack_init_command(programs, record.stack, root, environment)
    if not state.was_left_locked(place, init, begun):
        return False
    return free_lock(place, steps.cancel_command(programs, record.stack, root, environment))
