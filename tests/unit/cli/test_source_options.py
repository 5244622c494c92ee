"""What the options about sources mean."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.cli import source_options
from reconciler.cli.parser import build
from reconciler.engine.config import SourceSettings


def settings(*arguments: str) -> SourceSettings:
    return source_options.settings(build().parse_args(["engine", "serve", *arguments]))


def test_without_options_the_defaults_of_the_engine_count() -> None:
    """The command line says nothing else than the engine's own defaults."""
    assert settings() == SourceSettings()


def test_every_option_is_read() -> None:
    """Each option is a field; files are absolute, so that a change of directory does no harm."""
    assert settings(
        *("--known-hosts", "/etc/known", "--repository-ca", "ca.pem"),
        *("--allow-repository-host", "git.internal", "--allow-repository-host", "10.0.0.0/8"),
        *("--lfs", "--submodules", "--source-timeout", "30s"),
        *("--source-size", "500MiB", "--mirrors-size", "2TiB"),
    ) == SourceSettings(
        known_hosts=Path("/etc/known"),
        certificates=Path.cwd() / "ca.pem",
        hosts=("git.internal", "10.0.0.0/8"),
        lfs=True,
        submodules=True,
        limit=timedelta(seconds=30),
        largest_bytes=500 * 1024**2,
        mirrors_bytes=2 * 1024**4,
    )


@pytest.mark.parametrize("size", ["", "0MiB", "5", "5MB", "1.5GiB", "9999999999GiB"])
def test_what_is_no_size_is_a_mistake(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A size without a unit could be anything."""
    with pytest.raises(SystemExit):
        settings("--source-size", size)
    assert "500MiB" in capsys.readouterr().err
