"""How a cluster is reached: what a configuration may say, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.engine.runners.kubernetes.access import Access, find_access
from reconciler.errors import ReconcilerError, UsageError

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = "canary-71"


def write(path: Path, user: Any = None, cluster: Any = None, **changes: Any) -> Path:
    """Write a configuration with these parts."""
    content: dict[str, Any] = {
        "clusters": [
            {"name": "c", "cluster": {"server": "https://10.0.0.1:6443"} | (cluster or {})}
        ],
        "users": [{"name": "u", "user": user or {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "n"}}],
        "current-context": "x",
    }
    path.write_text(yaml.safe_dump(content | changes))
    return path


def access(path: Path, now: Callable[[], datetime] = lambda: NOW) -> Access:
    return find_access(str(path), {"PATH": "/usr/bin:/bin"}, now)


def test_a_configuration_is_read(tmp_path: Path) -> None:
    """The current context says which server, which namespace and which token."""
    found = access(write(tmp_path / "config", {"token": SECRET}))
    assert (found.server, found.namespace, found.token()) == ("https://10.0.0.1:6443", "n", SECRET)
    assert SECRET not in repr(found)


def test_it_is_looked_for_in_the_usual_places(tmp_path: Path) -> None:
    """KUBECONFIG comes before the home directory's own."""
    (tmp_path / ".kube").mkdir()
    write(tmp_path / ".kube" / "config", {"token": "of the home"})
    other = write(tmp_path / "other", {"token": "of the variable"})
    home = {"HOME": str(tmp_path)}
    assert find_access("", home, lambda: NOW).token() == "of the home"
    both = home | {"KUBECONFIG": f"{other}:/none"}
    assert find_access("", both, lambda: NOW).token() == "of the variable"


def test_a_token_file_is_read_again_each_time(tmp_path: Path) -> None:
    """Whoever changes it need not start the engine anew."""
    (tmp_path / "token").write_text("first\n")
    found = access(write(tmp_path / "config", {"tokenFile": "token"}))
    assert found.token() == "first"
    (tmp_path / "token").write_text("second\n")
    assert found.token() == "second"


def test_a_programs_token_is_kept_until_it_nearly_ends(tmp_path: Path) -> None:
    """It is asked once, and again when its token has a minute left."""
    script = tmp_path / "give"
    ends = f"{NOW + timedelta(hours=1):%FT%TZ}"
    status = f'{{"status": {{"token": "t", "expirationTimestamp": "{ends}"}}}}'
    script.write_text(f"#!/bin/sh\necho x >>{tmp_path}/calls\necho '{status}'\n")
    script.chmod(0o755)
    clock = [NOW]
    found = access(write(tmp_path / "config", {"exec": {"command": "./give"}}), lambda: clock[0])
    assert [found.token(), found.token()] == ["t", "t"]
    assert (tmp_path / "calls").read_text() == "x\n"
    clock[0] = NOW + timedelta(minutes=59, seconds=30)
    found.token()
    assert (tmp_path / "calls").read_text() == "x\nx\n"


def test_a_program_that_gives_none_is_named_without_what_it_said(tmp_path: Path) -> None:
    """What it printed may be the token."""
    user = {"exec": {"command": "sh", "args": ["-c", f"echo {SECRET}; exit 1"]}}
    found = access(write(tmp_path / "config", user))
    with pytest.raises(ReconcilerError, match="sh gives no token") as caught:
        found.token()
    assert SECRET not in str(caught.value)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no check of certificates": (
        {"cluster": {"insecure-skip-tls-verify": True}},
        "insecure-skip-tls-verify",
    ),
    "plain http": ({"cluster": {"server": "http://10.0.0.1"}}, "not an https"),
    "a proxy": ({"cluster": {"proxy-url": "http://p"}}, "proxy-url"),
    "a password": ({"user": {"username": "ann", "password": SECRET}}, "password"),
    "an authority that is none": (
        {"cluster": {"certificate-authority-data": "bm9uZQ=="}},
        "certificate or key",
    ),
    "no base64": ({"cluster": {"certificate-authority-data": "%"}}, "no base64"),
    "no such context": ({"current-context": "y"}, "no context 'y'"),
    "clusters that are no list": ({"clusters": 3}, "no cluster 'c'"),
}


@pytest.mark.parametrize(("changes", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_used_is_refused(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    """The message names the file and what is wrong, and no secret."""
    path = write(tmp_path / "config", **changes)
    with pytest.raises(UsageError, match="cannot be used") as caught:
        access(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("content", ["", "[1, 2]", "x: [", "\x00"])
def test_what_is_no_configuration_is_refused(content: str, tmp_path: Path) -> None:
    """Whatever the file holds, the answer is one line."""
    path = tmp_path / "config"
    path.write_text(content)
    with pytest.raises(UsageError, match="config"):
        access(path)
