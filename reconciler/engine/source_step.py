"""The step that gets the source: lends a deployment's log, limits and runner to `sources`.

git runs in the engine's own surroundings on the host, whichever runner the deployment has: what
it is told to touch it sees, and of the engine's data nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from reconciler.api.types import GitSource, Secret
from reconciler.engine.logs import StepLog
from reconciler.engine.runners.base import Command, Needs, Process, Surroundings
from reconciler.engine.sources.fetching import (
    Fetching,
    Order,
    Seen,
    SourceError,
    StoppedError,
)
from reconciler.engine.sources.mirrors import Mirrors
from reconciler.engine.stopping import CommandRun
from reconciler.engine.tools import Tools
from reconciler.git.urls import Reach
from reconciler.masking import Redactor

__all__ = ["SourceStep"]

# Beside the workspaces: an engine that starts deletes everything there.
SCRATCH_SUFFIX = ".source"


class SourceStep:
    """Gets one deployment's source. `needs` are the deployment's; `log` is the step's."""

    def __init__(self, tools: Tools, needs: Needs, commands: CommandRun, log: StepLog) -> None:
        self._tools = tools
        self._needs = needs
        self._commands = commands
        self._log = log
        self._redactor = Redactor()

    def get(
        self,
        source: GitSource[Secret],
        organization: str,
        environment: Mapping[str, str],
        redactor: Redactor,
    ) -> bool:
        """Get the source into `source` in the workspace, and return whether it is there.

        SourceError says why it is not; False that a stop was asked. `environment` is the base
        one of the host's programs.
        """
        self._redactor = redactor
        config, layout = self._tools.config, self._tools.layout
        workspace = self._needs.surroundings.workspace
        order = Order(
            source=source,
            organization=organization,
            workspace=workspace,
            into=workspace / "source",
            scratch=workspace.with_name(workspace.name + SCRATCH_SUFFIX),
            environment=environment,
        )
        fetching = Fetching(
            config.sources,
            Reach(local=config.local_repositories, hosts=config.sources.hosts),
            Mirrors(layout.repositories, config.sources.mirrors_bytes),
            config.sources.known_hosts or layout.known_hosts,
        )
        try:
            fetching.get(order, self)
        except StoppedError:
            return False
        return True

    def run(self, command: Command, paths: tuple[Path, ...], seen: Seen) -> int | None:
        """Run a command into the log; None where it was not started, as a stop was asked."""
        surroundings = Surroundings(
            workspace=paths[0],
            writable=paths[1:],
            readable=seen.readable,
            hidden=self._needs.surroundings.hidden,
        )
        place = self._tools.runners.host.open(replace(self._needs, surroundings=surroundings))

        def on_output(output: bytes) -> None:
            seen.on_output(output)
            self._log.write(self._redactor.feed(output))

        def start() -> Process:
            process = place.start(command, on_output)
            seen.begun(process)
            return process

        try:
            code = self._commands.run(start)
        except OSError as error:
            raise SourceError(f"{command.argv[0]} cannot be started: {error.strerror}") from error
        finally:
            place.close()
        self._log.write(self._redactor.flush())
        self._log.end_line()
        return code

    def note(self, text: str) -> None:
        """Write a line of the engine's own to the log."""
        self._log.note(self._redactor.mask_text(text))

    def stopped(self) -> bool:
        """Whether the deployment is to end."""
        return self._commands.asked is not None
