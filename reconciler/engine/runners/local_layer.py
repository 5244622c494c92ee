"""A layer of a deployment's own over /usr/local, where installers write.

Commands of a deployment install tools there, as in a container. What they write is in the layer,
goes with the deployment, and never reaches the host. An overlay needs a mount, which is made in
a mount namespace around the sandbox; where the engine may not make one, /usr/local is read only.
"""

from __future__ import annotations

import os
import shutil
import subprocess  # noqa: TID251 - a runner starts programs
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["LOCAL", "Layer", "has_local_layer", "local_layer"]

LOCAL = Path("/usr/local")

TRY_LIMIT_S = 30.0

# Run in the layer's folder: relative names need no escapes in mount's own list.
_MOUNT = (
    'mount -t overlay overlay -o "lowerdir=$0,upperdir=upper,workdir=work" "$0" && '
    'cd / && unset OLDPWD && exec "$@"'
)


@dataclass(frozen=True, slots=True)
class Layer:
    """What comes before the sandbox's own command, and the options that make the layer writable."""

    before: tuple[str, ...] = ()
    binds: tuple[str, ...] = ()


def local_layer(folder: Path) -> Layer:
    """Return the layer that is kept in `folder`, which is made; none where there can be none."""
    if not has_local_layer():
        return Layer()
    for name in ("upper", "work"):
        (folder / "local" / name).mkdir(mode=0o755, parents=True, exist_ok=True)
    return Layer(
        before=_around(folder / "local"),
        binds=("--bind", str(LOCAL), str(LOCAL)),
    )


@cache
def has_local_layer() -> bool:
    """Whether a layer can be made here: tried, once."""
    if os.geteuid() != 0 or not LOCAL.is_dir():
        return False
    with tempfile.TemporaryDirectory() as folder:
        for name in ("upper", "work"):
            (Path(folder) / name).mkdir()
        try:
            ended = subprocess.run(
                [*_around(Path(folder)), shutil.which("true") or "true"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TRY_LIMIT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
    return ended.returncode == 0


def _around(folder: Path) -> tuple[str, ...]:
    unshare, shell = shutil.which("unshare") or "unshare", shutil.which("sh") or "/bin/sh"
    script = f'cd -- "$1" && shift && {_MOUNT}'
    return (
        *(unshare, "--mount", "--propagation", "private", "--"),
        *(shell, "-c", script, str(LOCAL), str(folder)),
    )
