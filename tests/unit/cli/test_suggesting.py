"""A mistyped command line is answered with what was probably meant."""

from __future__ import annotations

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
    ],
)
def test_what_was_meant_is_told(line: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The nearest command, option or choice; a directory where a command takes it by name."""
    with pytest.raises(SystemExit) as ended:
        parser.run(line.split())
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_what_is_like_nothing_is_told_without_a_guess(capsys: pytest.CaptureFixture[str]) -> None:
    """No guess is better than a wrong one."""
    with pytest.raises(SystemExit):
        parser.run(["qqqqqq"])
    assert "did you mean" not in capsys.readouterr().err


def test_show_knows_the_nearest_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped name of a spec is told with the one that is there."""
    (tmp_path / "network.yaml").write_text("stack: acme/network/dev\n")
    assert parser.run(["show", "netwrk", "--directory", str(tmp_path)]) == 2
    assert "; did you mean network?" in capsys.readouterr().err
