"""The units, as systemd itself reads them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.cli.parser import build

pytestmark = pytest.mark.real

UNITS = sorted((Path(__file__).parents[1] / "systemd").glob("*.service"))


def start_line(unit: Path) -> list[str]:
    line = next(t for t in unit.read_text().splitlines() if t.startswith("ExecStart="))
    return line.removeprefix("ExecStart=").split()


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_nothing_wrong(unit: Path, tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say, with a program in the place of ours."""
    program = shutil.which("systemd-analyze")
    assert program is not None, "systemd-analyze is not installed; `make system` installs it"
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/usr/local/bin/reconciler", sys.executable))
    for other in UNITS:
        if other != unit:
            text = other.read_text().replace("/usr/local/bin/reconciler", sys.executable)
            (tmp_path / other.name).write_text(text)
    # Documentation that is not installed yet would be all there is to say.
    done = subprocess.run(
        [program, "verify", "--man=no", copy], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_commands_are_ours(unit: Path) -> None:
    """What the units start is a command line that the program understands."""
    words = start_line(unit)
    assert words[0] == "/usr/local/bin/reconciler"
    options = build().parse_args(words[1:])
    assert options.module in {"run", "engine"}


def test_the_token_is_a_credential() -> None:
    """The token reaches the reconciler by LoadCredential, not by its environment."""
    text = next(u for u in UNITS if u.name == "reconciler.service").read_text()
    assert "LoadCredential=api-token:" in text
    assert "--token-file ${CREDENTIALS_DIRECTORY}/api-token" in text
    assert "PULUMI_ACCESS_TOKEN" not in text
