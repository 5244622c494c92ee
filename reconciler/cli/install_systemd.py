"""`reconciler install-systemd`: the units of a build host, shown or put where systemd looks."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.cli.unit_files import ENGINE, RECONCILER, USERS, Wanted, unit, users
from reconciler.errors import ReconcilerError, UsageError
from reconciler.files import write_durably

__all__ = ["run"]

# What systemd reads is for everybody to see, and holds no secret.
MODE = 0o644


@dataclass(frozen=True, slots=True)
class _File:
    """A file to be: its place, its text, and what is there now."""

    path: Path
    text: str
    before: str | None

    @property
    def news(self) -> str:
        """What becomes of it."""
        if self.before is None:
            return "new"
        return "unchanged" if self.before == self.text else "changed"


def run(options: argparse.Namespace) -> int:
    """Print the units, or with `--install` write those that are not as they should be."""
    found = _files(options, os.environ)
    if options.install:
        for file in found:
            if file.news != "unchanged":
                _write(file)
            print(f"{file.news:<9} {file.path}")
        if any(file.news != "unchanged" for file in found):
            print(_next_steps(options))
        return 0
    for file in found:
        print(f"# {file.path} ({file.news})\n{file.text}")
    sys.stderr.write("nothing was written; `--install` writes these files\n")
    return 0


def _files(options: argparse.Namespace, environ: Mapping[str, str]) -> list[_File]:
    base = _base(options, environ)
    specs = options.specs or base / "reconciler/deployments.d"
    token = options.api_token or base / "reconciler/api-token"
    engine_too = not options.api_url
    wanted = Wanted(
        program=str(_program(options)),
        specs=str(_absolute(specs)),
        token=str(_absolute(token)),
        api_url=options.api_url or f"http://{options.listen}",
        listen=options.listen,
        user=options.user,
    )
    folder = base / ("systemd/user" if options.user else "systemd/system")
    texts = {folder / RECONCILER: unit(RECONCILER, wanted)}
    if engine_too:
        texts[folder / ENGINE] = unit(ENGINE, wanted)
    if not options.user:
        texts[base / "sysusers.d" / USERS] = users()
    root = options.root.absolute() if options.root else Path("/")
    return [_file(root / path.relative_to("/"), text) for path, text in texts.items()]


def _base(options: argparse.Namespace, environ: Mapping[str, str]) -> Path:
    """Return where configuration is: /etc, or the user's own."""
    if not options.user:
        return Path("/etc")
    given, home = environ.get("XDG_CONFIG_HOME", ""), environ.get("HOME", "")
    if given.startswith("/"):
        return Path(given)
    if not home.startswith("/"):
        raise UsageError("there is no HOME to put a user's units in; leave --user out")
    return Path(home) / ".config"


def _program(options: argparse.Namespace) -> Path:
    """Return the program that the units start: what is asked for, or the one that runs."""
    if options.program is not None:
        return _absolute(options.program)
    ours = Path(sys.argv[0])
    if ours.name == "reconciler" and ours.is_absolute():
        return ours
    found = shutil.which("reconciler")
    if found is None:
        raise UsageError("`reconciler` is not on PATH; give --program /usr/local/bin/reconciler")
    return _absolute(Path(found))


def _absolute(path: Path) -> Path:
    """Return the path as systemd needs it; links stay, since what they lead to may move."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - `absolute` keeps the ".." in it


def _file(path: Path, text: str) -> _File:
    try:
        return _File(path, text, path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return _File(path, text, None)
    except (OSError, UnicodeDecodeError) as error:
        raise ReconcilerError(f"{path} cannot be read: {error}") from None


def _write(file: _File) -> None:
    try:
        file.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        message = f"{file.path.parent} cannot be made: {error.strerror}"
        raise ReconcilerError(f"{message}; run it as root, or with --user") from None
    write_durably(file.path, file.text.encode(), MODE)


def _next_steps(options: argparse.Namespace) -> str:
    """Say what is left to do, in the order that works."""
    manager = "systemctl --user" if options.user else "systemctl"
    steps = [] if options.user else ["systemd-sysusers"]
    steps.append(f"{manager} daemon-reload")
    if not options.api_url:
        steps.append(f"{manager} enable --now {ENGINE}")
    steps.append("make a token, and put it where the unit says (docs/build-host.md shows how)")
    steps.append(f"{manager} enable --now {RECONCILER}")
    return "\n".join(["next:", *(f"  {step}" for step in steps)])
