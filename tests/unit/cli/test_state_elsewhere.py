"""A daemon with another state directory: what is asked for here it would never see."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.adapters.state_directory import StateDirectory
from reconciler.cli import parser
from reconciler.clock import SystemClock
from reconciler.errors import AnotherInstanceError

SPEC = (
    "stack: acme/web/dev\nsourceContext: {git: {repoUrl: https://x.example/i.git, branch: main}}\n"
)


@pytest.fixture
def specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with one spec, while a daemon that keeps its state elsewhere works on it."""
    monkeypatch.setenv("RECONCILER_API_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("PULUMI_ACCESS_TOKEN", "x")
    specs = tmp_path / "specs"
    specs.mkdir()
    (specs / "web.yaml").write_text(SPEC)
    with StateDirectory(tmp_path / "theirs").lock(specs, SystemClock()):
        yield specs


@pytest.mark.parametrize(
    "words",
    [
        ("suspend", "web"),
        ("suspend", "--all"),
        ("resume", "web"),
        ("trigger", "web"),
        ("cancel", "web"),
        ("approve", "web"),
        ("approve", "--mass", "0123456789ab"),
        ("adopt", "web"),
    ],
)
def test_nothing_is_asked_for_where_nobody_would_see_it(
    words: tuple[str, ...], specs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A suspension that holds nothing would be worse than a refusal."""
    data = tmp_path / "ours"
    assert parser.run([*words, "--directory", str(specs), "--data", str(data)]) == 75
    said = capsys.readouterr()
    assert f"{specs} is reconciled by process {os.getpid()} that keeps its state" in said.err
    assert "give the --data that it has" in said.err
    assert not said.out
    assert not [path for path in data.rglob("*") if path.is_file()]


@pytest.mark.parametrize("words", [("status", "{}"), ("schedule", "{}"), ("why", "web")])
def test_who_looks_is_told_that_more_is_known_elsewhere(
    words: tuple[str, ...], specs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What can be told here is not what that daemon knows; with its --data nothing is said."""
    named = [word.format(specs) for word in words]
    if str(specs) not in named:
        named += ["--directory", str(specs)]
    for data, told in (("ours", True), ("theirs", False)):
        parser.run([*named, "--data", str(tmp_path / data)])
        said = capsys.readouterr().err
        assert (f"what is told here is only what {tmp_path / data} knows" in said) == told


def test_a_second_daemon_is_told_the_same(
    specs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ends with the exit code that keeps systemd from starting it again and again."""
    assert parser.run(["run", str(specs), "--data", str(tmp_path / "ours"), "--once"]) == 75
    assert "that keeps its state at another place" in capsys.readouterr().err
    with pytest.raises(AnotherInstanceError, match="is already reconciled by process"):
        StateDirectory(tmp_path / "theirs").lock(specs, SystemClock())
