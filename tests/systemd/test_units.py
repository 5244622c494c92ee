"""The units: what they say, as systemd itself reads it, and how they get where it looks."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.cli.parser import build
from reconciler.cli.unit_files import ENGINE, RECONCILER, Wanted, unit, users
from reconciler.errors import UsageError

pytestmark = pytest.mark.real

SHIPPED = Path(__file__).parents[2] / "systemd"
PROGRAM = "/usr/local/bin/reconciler"
USUAL = Wanted(
    program=PROGRAM,
    specs="/etc/reconciler/deployments.d",
    token="/etc/reconciler/api-token",
    api_url="http://127.0.0.1:8080",
)
OWN = Wanted(
    program=PROGRAM,
    specs="/srv/ann/specs",
    token="/srv/ann/token",
    api_url="http://127.0.0.1:8080",
    user=True,
)
# What `systemd-analyze security` rates; its scale is from 0 (good) to 10.
EXPOSURE = {RECONCILER: 1.3, ENGINE: 3.4}


def analyze(*arguments: str | Path, runtime: Path = Path("/run")) -> str:
    program = shutil.which("systemd-analyze")
    assert program is not None, "systemd-analyze is not installed; `make system` installs it"
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(runtime)}
    done = subprocess.run(
        [program, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def install(root: Path, *more: str, code: int = 0) -> tuple[str, str]:
    """Run the command with files below `root`; what it says on both outputs."""
    command = [sys.executable, "-m", "reconciler", "install-systemd", "--root", str(root)]
    environment = {**os.environ, "HOME": "/srv/ann"}
    environment.pop("XDG_CONFIG_HOME", None)
    done = subprocess.run(
        [*command, "--program", PROGRAM, *more],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


def written(root: Path) -> dict[str, str]:
    return {str(p.relative_to(root)): p.read_text() for p in root.rglob("*") if p.is_file()}


def test_the_shipped_units_are_the_usual_ones() -> None:
    """`systemd/` is what the command installs where nothing else is asked for."""
    for name in (RECONCILER, ENGINE):
        assert (SHIPPED / name).read_text() == unit(name, USUAL)
    assert (SHIPPED / "reconciler.conf").read_text() == users()


@pytest.mark.parametrize("wanted", [USUAL, OWN], ids=["system", "user"])
def test_systemd_finds_nothing_wrong(wanted: Wanted, tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say, with a program in the place of ours."""
    paths = []
    for name in (RECONCILER, ENGINE):
        text = unit(name, wanted)
        assert "@" not in re.sub(r"@(system-service|mount|privileged|resources)", "", text)
        paths.append(tmp_path / name)
        paths[-1].write_text(text.replace(PROGRAM, sys.executable))
    manager = ["--user"] if wanted.user else []
    assert analyze("verify", *manager, *paths, runtime=tmp_path) == ""


@pytest.mark.parametrize("name", [RECONCILER, ENGINE])
def test_the_processes_may_do_little(name: str, tmp_path: Path) -> None:
    """Systemd rates what is open to the services; the numbers are those of docs/build-host.md."""
    path = tmp_path / name
    path.write_text(unit(name, USUAL))
    told = analyze("security", "--offline=true", "--no-pager", path)
    rated = re.search(r"exposure level for \S+: ([\d.]+)", told)
    assert rated is not None, told
    assert float(rated[1]) <= EXPOSURE[name]
    page = (SHIPPED.parent / "docs/build-host.md").read_text()
    assert re.search(rf"\b{re.escape(rated[1])}\b", page), f"the page does not say {rated[1]}"


@pytest.mark.parametrize("name", [RECONCILER, ENGINE])
@pytest.mark.parametrize("wanted", [USUAL, OWN], ids=["system", "user"])
def test_the_commands_are_ours(name: str, wanted: Wanted) -> None:
    """What the units start is a command line that the program understands."""
    line = next(t for t in unit(name, wanted).splitlines() if t.startswith("ExecStart="))
    words = shlex.split(line.removeprefix("ExecStart="))
    assert words[0] == PROGRAM
    assert build().parse_args(words[1:]).module == ("run" if name == RECONCILER else "engine")


def test_the_token_is_a_credential() -> None:
    """The token reaches the reconciler by LoadCredential, not by its environment."""
    text = unit(RECONCILER, USUAL)
    assert "LoadCredential=api-token:/etc/reconciler/api-token" in text
    assert "--token-file ${CREDENTIALS_DIRECTORY}/api-token" in text
    assert "PULUMI_ACCESS_TOKEN" not in text


def test_nothing_is_written_unasked(tmp_path: Path) -> None:
    """By itself it shows what there would be, and where; `--dry-run` says the same."""
    shown, hint = install(tmp_path)
    assert unit(RECONCILER, USUAL) in shown
    assert unit(ENGINE, USUAL) in shown
    assert f"# {tmp_path}/etc/systemd/system/reconciler.service (new)" in shown
    assert "--install" in hint
    assert written(tmp_path) == {}
    assert install(tmp_path, "--dry-run") == (shown, hint)


def test_installing_again_changes_nothing(tmp_path: Path) -> None:
    """What is as it should be is not touched, what differs is made so, and it is said which."""
    first, _ = install(tmp_path, "--install")
    files = written(tmp_path)
    assert sorted(files) == [
        "etc/systemd/system/reconciler-engine.service",
        "etc/systemd/system/reconciler.service",
        "etc/sysusers.d/reconciler.conf",
    ]
    assert "systemctl daemon-reload" in first
    paths = [tmp_path / name for name in files]
    assert {p.stat().st_mode & 0o777 for p in paths} == {0o644}
    stamps = {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in paths}
    again, _ = install(tmp_path, "--install")
    assert [line.split()[0] for line in again.splitlines()] == ["unchanged"] * 3
    assert {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in paths} == stamps
    other, _ = install(tmp_path, "--install", "--listen", "127.0.0.1:9000")
    assert [line.split()[0] for line in other.splitlines()[:3]] == [
        *("changed", "changed", "unchanged")
    ]
    assert "--api-url http://127.0.0.1:9000" in written(tmp_path)[sorted(files)[1]]


def test_with_an_api_elsewhere_there_is_no_engine(tmp_path: Path) -> None:
    """Who uses Pulumi Cloud needs one unit."""
    said, _ = install(tmp_path, "--install", "--api-url", "https://api.pulumi.com")
    assert "etc/systemd/system/reconciler-engine.service" not in written(tmp_path)
    assert "enable --now reconciler-engine" not in said
    assert (
        "--api-url https://api.pulumi.com"
        in written(tmp_path)["etc/systemd/system/reconciler.service"]
    )


def test_units_of_a_user(tmp_path: Path) -> None:
    """They are in the user's own configuration, with specs and token beside it, and no users."""
    said, _ = install(tmp_path, "--install", "--user")
    files = written(tmp_path)
    assert sorted(files) == [
        "srv/ann/.config/systemd/user/reconciler-engine.service",
        "srv/ann/.config/systemd/user/reconciler.service",
    ]
    assert "systemctl --user daemon-reload" in said
    text = files["srv/ann/.config/systemd/user/reconciler.service"]
    assert "--token-file /srv/ann/.config/reconciler/api-token" in text
    assert "run /srv/ann/.config/reconciler/deployments.d " in text
    assert "User=" not in text
    assert "WantedBy=default.target" in text


@pytest.mark.parametrize(
    ("path", "written_as"),
    [
        ("/srv/my specs", '"/srv/my specs"'),
        ("/srv/100%", '"/srv/100%%"'),
        ("/srv/$HOME", '"/srv/$$HOME"'),
        ('/srv/"x"', '"/srv/\\"x\\""'),
        ("/srv/a;b", '"/srv/a;b"'),
    ],
)
def test_odd_paths_stay_one_word(path: str, written_as: str, tmp_path: Path) -> None:
    """Spaces, quotes and what systemd would expand are written so that they are none of that."""
    wanted = Wanted(program=PROGRAM, specs=path, token="/t", api_url="https://a.example")
    text = unit(RECONCILER, wanted)
    assert f"{PROGRAM} run {written_as} --data" in text
    file = tmp_path / RECONCILER
    file.write_text(text.replace(PROGRAM, sys.executable))
    assert analyze("verify", "--man=no", file) == ""


def test_a_line_break_is_refused(tmp_path: Path) -> None:
    """A value cannot bring a directive of its own."""
    with pytest.raises(UsageError, match="cannot stand in a unit file"):
        unit(RECONCILER, Wanted(program="/x\nUser=root", specs="/s", token="/t", api_url="u"))
    install(tmp_path, "--specs", "/srv/a\nExecStart=/bin/sh", code=2)


def test_specs_in_a_home_can_be_read() -> None:
    """Homes are hidden from the services, unless what they need is there."""
    assert "ProtectHome=yes" in unit(RECONCILER, USUAL)
    at_home = "/ho" + "me/ann/specs"
    wanted = Wanted(program=PROGRAM, specs=at_home, token="/t", api_url="https://a.example")
    assert "ProtectHome=read-only" in unit(RECONCILER, wanted)
