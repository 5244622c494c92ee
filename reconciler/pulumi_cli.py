"""Where the Pulumi command line is, and which version of it this project builds for itself.

Pulumi is in neither Debian nor PyPI. One that is on PATH is used as it is; otherwise the one
that `make setup` has built into a cache outside the source tree (`tools/build_pulumi.py`).
"""

from __future__ import annotations

import os
import shutil
import subprocess  # noqa: TID251 - asking a pulumi for its version is this module's business
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PROGRAMS", "VERSION", "PulumiCli", "cache_directory", "find"]

# The version that is built when there is none: the one place that says it.
VERSION = "v3.274.1"

# What must be together in one directory: the command line, and the language host of YAML
# programs, without which not even the examples run.
PROGRAMS = ("pulumi", "pulumi-language-yaml")

# A pulumi answers in 0.2 s; one that does not answer within this is broken, or no pulumi.
VERSION_LIMIT_S = 20.0

# Where this package is in its source tree, that is what `make` is for; an installed one has none.
SOURCE = Path(__file__).parents[1]
_BUILD = "Run `make setup` to build it there, or install Pulumi so that it is on PATH"
_INSTALL = f"Install Pulumi, {VERSION} or newer, so that {' and '.join(PROGRAMS)} are on PATH"


@dataclass(frozen=True, slots=True, kw_only=True)
class PulumiCli:
    """A Pulumi that can be used: the directory of its programs, and its version (`v3.…`)."""

    directory: Path
    version: str

    @property
    def program(self) -> Path:
        """The command line itself."""
        return self.directory / PROGRAMS[0]


def cache_directory(environment: Mapping[str, str]) -> Path:
    """Return where the pinned version is built to, by `XDG_CACHE_HOME`, else `HOME`."""
    cache = environment.get("XDG_CACHE_HOME", "")
    # The XDG rule: a relative path is to be ignored.
    base = Path(cache) if Path(cache).is_absolute() else _home(environment) / ".cache"
    return base / "reconciler" / f"pulumi-{VERSION}"


def find(
    environment: Mapping[str, str] | None = None,
    limit_s: float = VERSION_LIMIT_S,
    source: Path = SOURCE,
) -> PulumiCli | str:
    """Return the Pulumi to use, or a text that says what to do where there is none.

    `environment` is this process's own by default. The first `pulumi` on PATH counts when the
    programs it needs are beside it or on PATH too, and it tells its version within `limit_s`.
    `source` is the tree that this program is run from, where it is one.
    """
    environment = os.environ if environment is None else environment
    on_path = _on_path(environment, limit_s)
    if isinstance(on_path, PulumiCli):
        return on_path
    cached = cache_directory(environment)
    if all(os.access(cached / name, os.X_OK) for name in PROGRAMS):
        return PulumiCli(directory=cached, version=VERSION)
    return (
        f"no usable Pulumi: {on_path}, and {cached} does not hold {VERSION}. "
        f"{_BUILD if (source / 'Makefile').is_file() else _INSTALL}"
    )


def _on_path(environment: Mapping[str, str], limit_s: float) -> PulumiCli | str:
    """Return the Pulumi on PATH, or why there is none that can be used."""
    path = environment.get("PATH", "")
    found = shutil.which(PROGRAMS[0], path=path)
    if found is None:
        return "`pulumi` is not on PATH"
    directory = Path(found).absolute().parent
    beside = f"{directory}{os.pathsep}{path}"
    missing = [name for name in PROGRAMS if shutil.which(name, path=beside) is None]
    if missing:
        return f"{found} is there without {', '.join(missing)}"
    version = _version(Path(found), environment, limit_s)
    if not version.startswith("v"):
        return f"{found} does not tell its version ({version})"
    return PulumiCli(directory=directory, version=version)


def _version(program: Path, environment: Mapping[str, str], limit_s: float) -> str:
    """Return what `pulumi version` says, or in words why it says nothing."""
    quiet = {"PULUMI_SKIP_UPDATE_CHECK": "true", "HOME": str(_home(environment))}
    try:
        answer = subprocess.run(
            [program, "version"],
            env={"PATH": environment.get("PATH", ""), **quiet},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {limit_s:.0f} s"
    except OSError as error:
        return error.strerror or "it cannot be started"
    if answer.returncode != 0:
        return f"exit code {answer.returncode}"
    lines = answer.stdout.decode("utf-8", "replace").split()
    return lines[0] if lines else "no output"


def _home(environment: Mapping[str, str]) -> Path:
    home = environment.get("HOME", "")
    return Path(home) if home else Path("/nonexistent")
