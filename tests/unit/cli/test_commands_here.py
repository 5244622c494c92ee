"""Commands that are told work as they are written, wherever the specs are."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.cli import parser, wiring
from reconciler.cli.commands_here import completed


def at(directory: str, *more: str) -> wiring.Place:
    return wiring.place(parser.build().parse_args(["status", directory, *more]))


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("reconciler approve web", "reconciler approve web --directory 'my specs' --data DATA"),
        ("reconciler plan", "reconciler plan 'my specs' --data DATA"),
        ("reconciler validate", "reconciler validate 'my specs'"),
        ("reconciler doctor", "reconciler doctor"),
        ("$EDITOR web.yaml", "$EDITOR web.yaml"),
    ],
)
def test_a_command_names_its_directory(
    command: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory of the specs and that of the state are named where they are not the usual."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my specs").mkdir()
    data = str(tmp_path / "state")
    complete = completed(at("my specs", "--data", data))
    assert complete(command) == told.replace("DATA", data)


def test_where_all_is_usual_nothing_is_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the directory that commands look at by themselves they are as short as ever."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    (tmp_path / "deployments.d").mkdir()
    complete = completed(at("deployments.d"))
    assert complete("reconciler approve web") == "reconciler approve web"
