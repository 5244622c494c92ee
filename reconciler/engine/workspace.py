"""The directories of one deployment: where they are, made, and deleted again."""

from __future__ import annotations

import logging
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.engine.store import Claim
from reconciler.engine.tools import Tools

__all__ = ["Workspace", "remove_workspace", "workspace_of"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Workspace:
    """The directories of one deployment."""

    root: Path

    @property
    def source(self) -> Path:
        """The clone."""
        return self.root / "source"

    @property
    def home(self) -> Path:
        """HOME, for all steps."""
        return self.root / "home"

    @property
    def temporary(self) -> Path:
        """TMPDIR."""
        return self.root / "tmp"

    @property
    def identity(self) -> Path:
        """The deployment's identity token, and what goes with it."""
        return self.root / "oidc"

    @property
    def pulumi_home(self) -> Path:
        """PULUMI_HOME; the plugins in it are the organization's."""
        return self.root / "pulumi"

    def make(self, plugins: Path) -> None:
        """Make the directories, anew if need be."""
        remove_workspace(self.root)
        for directory in (self.home, self.temporary, self.identity, self.pulumi_home, plugins):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.pulumi_home / "plugins").symlink_to(plugins)


def workspace_of(tools: Tools, claim: Claim) -> Path:
    """Return where a deployment's workspace is: workers that share a directory have one each."""
    root = tools.layout.work / f"worker-{claim.worker}" if claim.worker else tools.layout.work
    return root / claim.deployment_id


def remove_workspace(root: Path) -> None:
    """Delete a workspace, read-only directories in it too; links are not followed."""

    def make_writable(function: Callable[..., Any], path: str, _: object) -> None:
        try:
            parent = Path(path).parent
            for target in (parent, Path(path)):
                if stat.S_ISDIR(target.lstat().st_mode):
                    target.chmod(0o700)
            function(path)
        except OSError:
            _log.warning("%s could not be deleted", path)

    if root.exists():
        shutil.rmtree(root, onerror=make_writable)
