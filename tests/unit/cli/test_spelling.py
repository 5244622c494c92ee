"""A spec's name as people write it, and what a command says that cannot do what was asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reconciler.api.types import StackRef
from reconciler.cli import logs, parser
from reconciler.cli.escapes import shown
from reconciler.cli.spelling import spellings

SPEC = (
    "stack: acme/web/dev\n"
    "sourceContext: {git: {repoUrl: https://x.example/i.git, commit: abcdef0123}}\n"
)


@pytest.fixture
def specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deployments.d/eu").mkdir(parents=True)
    (tmp_path / "deployments.d/eu/web.yaml").write_text(SPEC)
    return tmp_path / "deployments.d"


def test_a_file_is_its_name(specs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Wherever a name is taken the path of its file is, too, as a shell completes it."""
    for written in ("eu/web", "eu/web.yaml", "deployments.d/eu/web.yaml", f"{specs}/eu/web.yaml"):
        assert parser.run(["status", written, "--data", "state", "-o", "json"]) == 0
        assert [row["name"] for row in json.loads(capsys.readouterr().out)] == ["eu/web"]
        assert parser.run(["show", written, "--data", "state", "-o", "json"]) == 0
        assert json.loads(capsys.readouterr().out)["name"] == "eu/web"
        assert parser.run(["suspend", written, "--data", "state"]) == 0
        assert "eu/web" in capsys.readouterr().out
    for unknown in ("../eu/web.yaml", "eu/wep.yaml", "deployments.d/web.yaml"):
        assert parser.run(["why", unknown, "--data", "state"]) == 2
        assert f"there is no spec '{unknown}'" in capsys.readouterr().err


def test_a_name_is_itself_before_all_else(tmp_path: Path) -> None:
    """A spec whose name looks like a file's is found by it."""
    assert next(spellings("web.yaml", tmp_path)) == "web.yaml"
    assert list(spellings("", tmp_path)) == [""]
    assert "etc/web" not in list(spellings("/etc/web.yaml", tmp_path))


def test_a_log_that_is_not_there_is_told_with_the_next_step(
    specs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was never deployed says where the reason is; a wrong version the right one."""
    assert specs.is_dir()
    assert parser.run(["logs", "eu/web.yaml", "--data", "state"]) == 2
    told = "eu/web has no deployment yet; `reconciler why eu/web --data "
    assert told in capsys.readouterr().err
    stack = StackRef.parse("acme/web/dev")
    assert logs.unknown(9, stack, 2) == (
        "the API knows no version 9 of acme/web/dev; the latest is 2"
    )
    assert logs.unknown(2, stack, 2) == "the API knows no version 2 of acme/web/dev"


def test_a_log_is_coloured_on_a_terminal_alone() -> None:
    """Elsewhere nothing of what a terminal obeys is left; on it the colours, no title, no move."""
    line = "\x1b]0;a title\x07\x1b[1m\x1b[38;5;13m+ web\x1b[0m\x1b[2K created\x1b(B\n"
    assert shown(line, colours=False) == "+ web created\n"
    assert shown(line, colours=True) == "\x1b[1m\x1b[38;5;13m+ web\x1b[0m created\n"
    assert shown("a plain line\n", colours=False) == "a plain line\n"
    assert shown("\x1b", colours=True) == ""


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("deployments.d/eu/web", "deployments.d/eu/web does not exist; did you mean "),
        ("deployments.d/eu/wep.yaml", "; did you mean deployments.d/eu/web.yaml?"),
        ("nowhere/x", "nowhere/x does not exist; give a spec file or a directory of them"),
    ],
)
def test_a_file_that_is_not_there_is_told_with_the_one_that_is(
    path: str, told: str, specs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name without its ending, and one that is nearly right."""
    assert specs.is_dir()
    assert parser.run(["validate", path]) == 2
    assert told in capsys.readouterr().err
