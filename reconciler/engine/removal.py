"""Deletes a stack from its backend, outside of any deployment, as `pulumi stack rm` asks."""

from __future__ import annotations

import uuid
from contextlib import ExitStack
from enum import StrEnum

from reconciler.api.types import StackRef
from reconciler.engine import steps
from reconciler.engine.runners.base import Needs, Surroundings
from reconciler.engine.state import StackState
from reconciler.engine.steps import Programs
from reconciler.engine.tools import Tools
from reconciler.engine.workspace import remove_workspace
from reconciler.errors import ReconcilerError
from reconciler.pulumi_cli import PulumiCli

__all__ = ["Removal", "RemovalError", "remove"]

# One call of pulumi takes 0.2 s; a backend far away is waited for longer.
LIMIT_S = 60.0

# More than pulumi says of a stack that it does not delete.
MOST_OUTPUT_BYTES = 64 * 1024

# What the CLI says where there are resources, and how it ends where there is no such stack.
_HAS_RESOURCES = b"still has resources"
_NO_SUCH_STACK = 6


class Removal(StrEnum):
    """What became of it."""

    GONE = "gone"
    HAS_RESOURCES = "has resources"


class RemovalError(ReconcilerError):
    """It could not be done; the message says why."""


def remove(tools: Tools, stack: StackRef, *, force: bool) -> Removal:
    """Delete a stack's state; one that has resources only by `force`. RemovalError."""
    cli = tools.find_pulumi()
    if not isinstance(cli, PulumiCli):
        raise RemovalError(cli)
    removal_id = f"removal-{uuid.uuid4()}"
    root = tools.layout.work / removal_id
    root.mkdir(mode=0o700, parents=True)
    backend = tools.backend(stack)
    state = StackState(backend, stack, root)
    opened = ExitStack()
    try:
        state.prepare()
        home = steps.Home(home=root, temporary=root, pulumi_home=root / "pulumi")
        base = steps.base_environment(
            tools.environment, home, before=str(cli.directory), after=tools.python_directory
        )
        environment = state.opened(
            base
            | {
                "PULUMI_BACKEND_URL": backend.url,
                "PULUMI_CONFIG_PASSPHRASE": tools.passphrase(stack),
                "PULUMI_CI_BUILD_ID": removal_id,
            }
        )
        programs = Programs(pulumi=str(cli.program), shell=tools.shell)
        command = steps.stack_rm_command(programs, stack, root, environment, force=force)
        surroundings = Surroundings(
            workspace=root,
            writable=state.writable,
            hidden=(tools.layout.data, *tools.config.hide),
        )
        place = tools.runners.host.open(Needs(deployment_id=removal_id, surroundings=surroundings))
        opened.callback(place.close)
        output = bytearray()

        def keep(part: bytes) -> None:
            output.extend(part[: MOST_OUTPUT_BYTES - len(output)])

        try:
            process = place.start(command, keep)
        except OSError as error:
            raise RemovalError(f"pulumi cannot be started: {error.strerror}") from error
        code = process.wait(LIMIT_S)
        if code is None:
            process.kill()
            process.wait()
            raise RemovalError(f"the stack's backend did not answer within {LIMIT_S:.0f} s")
    finally:
        opened.close()
        remove_workspace(root)
    if code in {0, _NO_SUCH_STACK}:
        return Removal.GONE
    if _HAS_RESOURCES in output:
        return Removal.HAS_RESOURCES
    raise RemovalError(f"pulumi stack rm ended with exit code {code}")
