"""A mistyped command line is answered with what was probably meant."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reconciler.cli import parser


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("statuz", "did you mean status?"),
        (
            "status --wacht",
            "reconciler status: error: unrecognized arguments: --wacht; did you",
        ),
        ("engine serv", "did you mean serve?"),
        ("status -o jsn", "did you mean json?"),
        ("status --wacht=1", "did you mean --watch?"),
        ("approve web .", "unrecognized arguments: .; give the directory as --directory ."),
        ("run --consoel", "unrecognized arguments: --consoel; did you mean --console?"),
        ("ls", "there is no command 'ls'; `reconciler status` says how every spec stands"),
        ("stop web", "`reconciler cancel NAME` ends what runs"),
        ("retry web", "`reconciler trigger NAME` runs it again now"),
        ("delete web", "remove the spec's file"),
        ("deploy", "`reconciler run` does what the specs say"),
        ("plan x --directory y", "give the directory once, with --directory or without"),
        ("plan --directory y x", "give the directory once, with --directory or without"),
    ],
)
def test_what_was_meant_is_told(line: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The nearest command, option or choice; a directory where a command takes it by name."""
    with pytest.raises(SystemExit) as ended:
        parser.run(line.split())
    assert ended.value.code == 2
    error, see = capsys.readouterr().err.splitlines()
    assert told in error
    assert re.fullmatch("see `reconciler.* --help`", see)


def test_what_is_like_nothing_is_told_without_a_guess(capsys: pytest.CaptureFixture[str]) -> None:
    """No guess is better than a wrong one."""
    for line in ("qqqqqq", "status --api-url x", "plan --settled"):
        with pytest.raises(SystemExit):
            parser.run(line.split())
        told = capsys.readouterr().err
        assert ("did you mean" in told) is (line == "plan --settled")


def test_help_is_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """`help` shows what --help does, of a command too; without a command all of them are shown."""
    for line, begins in (("help", "usage: reconciler ["), ("help logs", "usage: reconciler logs")):
        with pytest.raises(SystemExit) as ended:
            parser.run(line.split())
        assert ended.value.code == 0
        assert capsys.readouterr().out.startswith(begins)
    for line in ("", "engine"):
        with pytest.raises(SystemExit) as ended:
            parser.run(line.split())
        assert ended.value.code == 2
        assert "serve the Pulumi Deployments API" in capsys.readouterr().err or not line


def test_a_help_begins_with_what_the_command_is_about(capsys: pytest.CaptureFixture[str]) -> None:
    """What others have, too, stands behind, and what few need is shown by --help-all alone."""
    for command in ("why", "logs", "plan", "trigger", "cancel", "approve", "adopt"):
        shown = []
        for option in ("--help", "--help-all"):
            with pytest.raises(SystemExit) as ended:
                parser.run([command, option])
            assert ended.value.code == 0
            shown.append(capsys.readouterr().out)
        short, whole = shown
        assert "--max-memory" not in short
        assert f"`reconciler {command} --help-all`" in " ".join(short.split())
        assert len(short.splitlines()) <= 45
        assert "--max-memory" in whole
        assert "More options" not in whole
        assert max(map(short.index, ("-h, --help", "--directory"))) < short.index("--data DIR")


def test_the_directory_is_given_either_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command that takes it in its place takes it by --directory, too."""
    specs = tmp_path / "specs"
    specs.mkdir()
    (specs / "web.yaml").write_text(
        "stack: acme/web/dev\n"
        "sourceContext: {git: {repoUrl: https://x.example/i.git, commit: abcdef0123}}\n"
    )
    state, table = ("--data", str(tmp_path / "state")), []
    given = ([str(specs)], ["--directory", str(specs)], ["web", "--directory", str(specs)])
    for where in (*given, ["--directory", str(specs), "web"]):
        assert parser.run(["status", *where, *state, "-o", "json"]) == 0
        table.append(capsys.readouterr().out)
    assert len(set(table)) == 1
    for where in given[:2]:
        assert parser.run(["validate", *where]) == 0
        assert capsys.readouterr().out == "1 spec is valid\n"
        assert parser.run(["schedule", *where, *state]) == 0
        capsys.readouterr()


def test_show_knows_the_nearest_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped name of a spec is told with the one that is there."""
    (tmp_path / "network.yaml").write_text("stack: acme/network/dev\n")
    assert parser.run(["show", "netwrk", "--directory", str(tmp_path)]) == 2
    assert "; did you mean network?" in capsys.readouterr().err
