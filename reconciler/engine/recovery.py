"""Settles what a lost engine or worker has left: no Pulumi operation is run twice.

A deployment that was running has lost whoever ran it. It is taken over first, so that nobody
else can write of it; what is left of its processes is ended, then a lock of its own is freed,
and only then does it go back to the queue or read `failed`. Dying in between does no harm,
since the next one finds it running still.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, closing, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reconciler.api.types import Ending, EndingKind
from reconciler.engine import steps
from reconciler.engine.model import Event, Record, Requeued, StepFailed, running_step
from reconciler.engine.runners.base import Needs, Surroundings
from reconciler.engine.state import StackState, free_lock
from reconciler.engine.steps import Programs
from reconciler.engine.store import Claim, FencedError
from reconciler.engine.tools import Tools
from reconciler.engine.workspace import remove_workspace, workspace_of
from reconciler.pulumi_cli import PulumiCli

__all__ = [
    "LAST_FENCE",
    "Watched",
    "remove_workspace_of",
    "remove_workspaces",
    "settle",
    "settle_one",
    "settlement",
    "try_to_settle",
]

_log = logging.getLogger(__name__)

# Is given a deployment, and has this process ended within when it hangs for too long: others
# would settle the same one by then, and its stack would run its next deployment.
Watched = Callable[[str], AbstractContextManager[None]]

# A run that is lost counts two: its begin, and its settling. After ten of them a deployment is
# what ends its workers, and not the other way round.
LAST_FENCE = 20

# Longer than the commands of one `engine stack import` may take together.
LONGEST_COMMAND = timedelta(hours=1)

_PENDING = (
    "pending operations may exist: look at what it was changing, then refresh the stack, "
    "which clears them"
)


def settle(tools: Tools) -> None:
    """Settle every deployment that was running, and delete all workspaces.

    For an engine that is alone with its database: whatever ran them is gone. One that cannot be
    settled now keeps no other one waiting; it is tried again (`settling`).
    """
    for claim in tools.store.deployments.claims():
        try_to_settle(tools, claim, 0, lambda _: nullcontext())
    remove_workspaces(tools, frozenset)


def try_to_settle(tools: Tools, claim: Claim, worker: int, watched: Watched) -> bool:
    """Do as `settle_one`, and return whether it could be done; the log says why not."""
    try:
        settle_one(tools, claim, worker, watched)
    except FencedError as error:
        _log.warning("deployment %s is settled elsewhere: %s", claim.deployment_id, error)
    except Exception:  # noqa: BLE001 - the others are to be settled all the same
        _log.exception("deployment %s could not be settled", claim.deployment_id)
        return False
    return True


def settle_one(tools: Tools, claim: Claim, worker: int, watched: Watched) -> None:
    """Settle what a worker that is gone was running, as this worker; nothing where others do.

    The caller knows that nothing of it runs on another host any more.
    """
    taken = tools.store.deployments.take_over(claim, worker)
    if taken is None:
        return
    record, ours = taken
    with watched(record.id):
        ended = tools.runners.end_strays(record.id)
        freed = record.in_operation and _free_own_lock(tools, record, ours)
    event, message = settlement(record, ours.fence, tools.clock.now())
    log = tools.logs.open(ours, running_step(record))
    if freed:
        log.note("the stack's lock was freed")
    log.note(message)
    log.close()

    def decide(found: Record) -> Event | None:
        # A cancel may have come while we looked.
        return settlement(found, ours.fence, event.at)[0]

    tools.store.deployments.change(record.id, decide, ours)
    _log.warning(
        "deployment %s of %s: %s (%d processes ended)", record.id, record.stack, message, ended
    )


def settlement(record: Record, fence: int, now: datetime) -> tuple[Event, str]:
    """Say what becomes of a deployment whose worker is gone, and why. Pure.

    Back to the queue where its Pulumi operation had not begun; a fence that has counted too far
    tells of one that takes its worker along each time.
    """
    if record.cancel_asked:
        lost = f"; the engine was lost while Pulumi ran, {_PENDING}" if record.in_operation else ""
        message = f"the deployment was canceled{lost}"
        return StepFailed(now, Ending(kind=EndingKind.CANCELED, message=message)), message
    if record.in_operation:
        message = f"the engine was lost while Pulumi ran; {_PENDING}"
        return StepFailed(now, Ending(kind=EndingKind.INTERRUPTED, message=message)), message
    if fence >= LAST_FENCE:
        message = "the engine was lost before Pulumi ran, again and again: it is not tried again"
        return StepFailed(now, Ending(kind=EndingKind.LOST, message=message)), message
    return Requeued(now), "the engine was lost before Pulumi ran: it goes back to the queue"


def remove_workspace_of(tools: Tools, worker: int) -> None:
    """Delete the workspaces of a worker that is gone, where they are in this directory."""
    remove_workspace(tools.layout.work / f"worker-{worker}")


def remove_workspaces(tools: Tools, workers: Callable[[], Collection[int]]) -> None:
    """Delete all workspaces but those of `workers`, who are asked for after we have looked.

    Commands beside an engine have theirs in the same place: those stay for as long as one takes.
    """
    if not tools.layout.work.exists():
        return
    found = tuple(tools.layout.work.iterdir())
    kept = {f"worker-{number}" for number in workers()}
    for workspace in found:
        if workspace.name not in kept and not _in_use(workspace, tools.clock.now()):
            remove_workspace(workspace)


def _in_use(workspace: Path, now: datetime) -> bool:
    """Whether a stack may be deleted, taken over or handed out there just now."""
    if not workspace.name.startswith(("adoption-", "removal-")):
        return False
    try:
        changed = datetime.fromtimestamp(workspace.stat().st_mtime, UTC)
    except OSError:
        return False
    return abs(now - changed) < LONGEST_COMMAND


def _free_own_lock(tools: Tools, record: Record, claim: Claim) -> bool:
    """Free the stack's lock where it was made after this deployment's operation had begun.

    Until then Pulumi would not have begun either, had somebody else held it; and since then
    nobody else can have got it.
    """
    begun = record.steps[-1].started
    cli = tools.find_pulumi()
    if not isinstance(cli, PulumiCli):
        _log.error("a lock of %s stays, if there is one: %s", record.stack, cli)
        return False
    root = workspace_of(tools, claim)
    # A program may have left links in it, which are not ours to write to.
    remove_workspace(root)
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
    needs = Needs(deployment_id=record.id, surroundings=surroundings)
    # Pulumi makes stacks in a project's folder only.
    (root / "Pulumi.yaml").write_text(f"name: {record.stack.project}\nruntime: yaml\n")
    init = steps.stack_init_command(programs, record.stack, root, environment)
    try:
        with closing(tools.runners.host.open(needs)) as place:
            if not state.was_left_locked(place, init, begun):
                return False
            # To look may have taken a minute, and the next one's lock would look like ours.
            if not tools.store.deployments.holds(claim):
                raise FencedError("its stack's lock is not ours to free any more")
            cancel = steps.cancel_command(programs, record.stack, root, environment)
            return free_lock(place, cancel)
    finally:
        remove_workspace(root)
