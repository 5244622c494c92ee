"""A layer of a deployment's own over /usr/local, where installers write.

Commands of a deployment install tools there, as in a container. What they write is in the layer,
goes with the deployment, and never reaches the host. An overlay needs a mount, which the command's
supervisor makes in a mount namespace of its own, around the sandbox; where the engine may not make
one, /usr/local is read only.
"""

from __future__ import annotations

import os
import subprocess  # noqa: TID251 - a runner starts programs
import sys
import tempfile
from functools import cache
from pathlib import Path

from reconciler.engine.runners import supervisor

__all__ = ["LOCAL", "has_local_layer", "local_layer"]

LOCAL = Path("/usr/local")

TRY_LIMIT_S = 30.0


def local_layer(folder: Path) -> tuple[str, str] | None:
    """Return what `supervisor.lay` takes, kept in `folder`, which is made; None: it cannot be."""
    if not has_local_layer():
        return None
    return str(LOCAL), str(_made(folder / "local"))


@cache
def has_local_layer() -> bool:
    """Whether a layer can be made here: tried, once."""
    if os.geteuid() != 0 or not LOCAL.is_dir():
        return False
    with tempfile.TemporaryDirectory() as folder:
        layer = (str(LOCAL), str(_made(Path(folder))))
        try:
            ended = subprocess.run(
                [sys.executable, "-I", "-S", supervisor.__file__, *layer],
                env={},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TRY_LIMIT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
    return ended.returncode == 0


def _made(folder: Path) -> Path:
    for name in ("upper", "work"):
        (folder / name).mkdir(mode=0o755, parents=True, exist_ok=True)
    return folder
