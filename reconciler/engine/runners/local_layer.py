"""A layer of a deployment's own over /usr/local, where installers write.

Commands of a deployment install tools there, as in a container. What they write is in the layer,
goes with the deployment, and never reaches the host. An overlay needs a mount, which is made in
a mount namespace around the sandbox; where the engine may not make one, /usr/local is read only.
"""

from __future__ import annotations

import os
import subprocess  # noqa: TID251 - a runner starts programs
import sys
import tempfile
from functools import cache
from pathlib import Path

from reconciler.engine.runners.supervisor import LOCAL

__all__ = ["has_local_layer", "local_layer"]

TRY_LIMIT_S = 30.0

# What a supervisor does before it starts a sandbox.
_TRY = """\
import sys
sys.path.append(sys.argv[1])
import supervisor
supervisor.lay_over_local(sys.argv[2])
"""


def local_layer(folder: Path) -> str:
    """Return where in `folder` the layer is kept, which is made; empty where there can be none."""
    if not has_local_layer():
        return ""
    for name in ("upper", "work"):
        (folder / "local" / name).mkdir(mode=0o755, parents=True, exist_ok=True)
    return str(folder / "local")


@cache
def has_local_layer() -> bool:
    """Whether a layer can be made here: tried, once."""
    if os.geteuid() != 0 or not Path(LOCAL).is_dir():
        return False
    with tempfile.TemporaryDirectory() as folder:
        for name in ("upper", "work"):
            (Path(folder) / name).mkdir()
        try:
            ended = subprocess.run(
                [sys.executable, "-I", "-S", "-c", _TRY, str(Path(__file__).parent), folder],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TRY_LIMIT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
    return ended.returncode == 0
