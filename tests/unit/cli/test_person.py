from __future__ import annotations

import os
import pwd

import pytest

from reconciler.cli.person import who


def test_it_is_the_user_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """An approval that names somebody else would be worse than none."""
    monkeypatch.delenv("SUDO_UID", raising=False)
    for variable in ("LOGNAME", "USER", "USERNAME", "SUDO_USER"):
        monkeypatch.setenv(variable, "somebody-else")
    assert who() == pwd.getpwuid(os.getuid()).pw_name


@pytest.mark.parametrize(
    ("uid", "called_by", "expected"),
    [
        (0, "1", pwd.getpwuid(1).pw_name),
        (0, "54321", "54321"),
        (0, "", "root"),
        (0, "-1", "root"),
        (0, "٣", "root"),
        (0, "9" * 10, "9" * 10),
        (0, "9" * 11, "root"),
        (1, "0", pwd.getpwuid(1).pw_name),
        (54321, "1", "54321"),
    ],
)
def test_through_sudo_it_is_who_called_it(
    uid: int, called_by: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root acts for the one whom sudo names; another user acts for nobody else."""
    monkeypatch.setattr(os, "getuid", lambda: uid)
    monkeypatch.setenv("SUDO_UID", called_by)
    assert who() == expected
