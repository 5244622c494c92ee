"""The tab key, in the shells themselves."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from reconciler.cli.completion import spec_names

pytestmark = pytest.mark.real

LIMIT_S = 60.0
BIN = Path(sys.executable).parent
SPECS = ("web-prod", "web-test", "team/queue")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with specs in it, and things beside them that are none."""
    specs = tmp_path / "deployments.d"
    for name in SPECS:
        path = specs / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("stack: a/b/c\n")
    for other in ("_defaults.yaml", ".hidden.yaml", "web-prod.status.json", "notes.txt"):
        (specs / other).write_text("x")
    (specs / ".git").mkdir()
    (specs / ".git" / "x.yaml").write_text("x")
    return tmp_path


def environment(folder: Path) -> dict[str, str]:
    return {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "TERM": "dumb",
        "LANG": "C.UTF-8",
    }


class Typing:
    """A shell on a terminal, and a person who types."""

    def __init__(self, leader: int) -> None:
        self._leader = leader
        self.shown = ""

    def types(self, text: str) -> None:
        os.write(self._leader, text.encode())

    def sees(self, text: str) -> None:
        """Wait until a text is shown that was not shown before."""
        deadline = time.monotonic() + LIMIT_S
        while text not in self.shown:
            assert time.monotonic() < deadline, f"{text!r} never came: {self.shown!r}"
            if select.select([self._leader], [], [], 0.1)[0]:
                with suppress(OSError):
                    self.shown += os.read(self._leader, 65536).decode(errors="replace")
        self.shown = self.shown.split(text, 1)[1]


@contextmanager
def shell(command: list[str], folder: Path) -> Iterator[Typing]:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment(folder),
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    try:
        yield Typing(leader)
    finally:
        process.kill()
        process.wait()
        os.close(leader)


def tab_key(person: Typing) -> None:
    """Type commands, options and names, and see them completed."""
    person.types("reconciler suspe\t")
    person.sees("reconciler suspend ")
    person.types("web-p\t")
    person.sees("web-prod")
    person.types("\x15echo be''gin\r")
    person.sees("begin")
    person.types("reconciler plan --detailed\t")
    person.sees("--detailed-exitcode")


def test_bash(folder: Path) -> None:
    """Bash completes a command, a spec's name and an option."""
    with shell(["bash", "--norc", "--noprofile", "-i"], folder) as person:
        person.types('eval "$(reconciler completion bash)"; echo rea""dy\r')
        person.sees("ready")
        tab_key(person)


def test_zsh(folder: Path) -> None:
    """Zsh does too."""
    program = shutil.which("zsh")
    assert program is not None, "zsh is not installed; `make system` installs it"
    with shell([program, "-f", "-i"], folder) as person:
        person.types(
            "unsetopt zle_bracketed_paste; autoload -U compinit && compinit -u -D; "
            'eval "$(reconciler completion zsh)"; echo rea""dy\r'
        )
        person.sees("ready")
        tab_key(person)


def test_fish(folder: Path) -> None:
    """Fish says what it would offer, and that is asked for here."""
    program = shutil.which("fish")
    assert program is not None, "fish is not installed; `make system` installs it"

    def offered(line: str) -> list[str]:
        script = f"reconciler completion fish | source; complete --do-complete '{line}'"
        done = subprocess.run(
            [program, "--no-config", "--command", script],
            cwd=folder,
            env=environment(folder),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        return [found.split("\t")[0].strip() for found in done.stdout.splitlines()]

    assert offered("reconciler suspe") == ["suspend"]
    assert offered("reconciler suspend web-") == ["web-prod", "web-test"]
    assert offered("reconciler plan --detailed") == ["--detailed-exitcode"]


def test_names_are_those_of_the_directory_that_is_named(folder: Path) -> None:
    """Files of other kinds are no specs, and a directory that is not there has none."""
    assert sorted(spec_names(folder / "deployments.d")) == sorted(SPECS)
    assert list(spec_names(folder / "nothing")) == []


def test_nothing_is_imported_without_a_question() -> None:
    """A command that no shell asks does not pay for it."""
    script = (
        "import sys; from reconciler.cli import parser; parser.build(); "
        "print('argcomplete' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
