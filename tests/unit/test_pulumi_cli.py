import os
from pathlib import Path

import pytest

from reconciler.pulumi_cli import PROGRAMS, VERSION, PulumiCli, cache_directory, find


def place(directory: Path, answer: str, *, names: tuple[str, ...] = PROGRAMS) -> None:
    """Make programs of these names; each is a script that does `answer`."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        (directory / name).write_text(f"#!/bin/sh\n{answer}\n")
        (directory / name).chmod(0o755)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment with a PATH and a cache in which there is no pulumi."""
    (tmp_path / "bin").mkdir()
    return {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "XDG_CACHE_HOME": f"{tmp_path}/cache"}


def test_the_one_on_path_comes_first(tmp_path: Path, environment: dict[str, str]) -> None:
    """A pulumi that the user has is used, with the version it tells."""
    place(tmp_path / "bin", "echo v3.999.0")
    place(cache_directory(environment), "echo no")
    assert find(environment) == PulumiCli(directory=tmp_path / "bin", version="v3.999.0")


def test_a_language_host_elsewhere_on_path_will_do(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    """What pulumi needs may be in another directory of PATH."""
    place(tmp_path / "bin", "echo v3.1.0", names=PROGRAMS[:1])
    place(tmp_path / "more", "exit 1", names=PROGRAMS[1:])
    environment["PATH"] += f":{tmp_path}/more"
    assert find(environment) == PulumiCli(directory=tmp_path / "bin", version="v3.1.0")


def test_the_built_one_is_the_second_choice(environment: dict[str, str]) -> None:
    """Where PATH has none, the pinned one of the cache is used, and not asked for its version."""
    place(cache_directory(environment), "exit 1")
    found = find(environment)
    assert found == PulumiCli(directory=cache_directory(environment), version=VERSION)
    assert isinstance(found, PulumiCli)
    assert found.program == cache_directory(environment) / "pulumi"


def test_half_a_cache_is_none(environment: dict[str, str]) -> None:
    """A cache that lacks one of the programs does not count."""
    place(cache_directory(environment), "exit 1", names=PROGRAMS[:1])
    assert isinstance(find(environment), str)


def test_without_any_the_answer_says_what_to_do(environment: dict[str, str]) -> None:
    """Nobody is left with only "not found"."""
    answer = find(environment)
    assert isinstance(answer, str)
    assert "`pulumi` is not on PATH" in answer
    assert "make setup" in answer


def test_who_has_a_wheel_is_not_sent_to_the_source(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """An installed program has no Makefile: what helps there is to install Pulumi."""
    answer = find(environment, source=tmp_path)
    assert isinstance(answer, str)
    assert "make" not in answer
    assert f"Install Pulumi, {VERSION} or newer" in answer


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 3", "exit code 3"),
        ("true", "no output"),
        ("echo hello", "hello"),
    ],
)
def test_a_broken_one_on_path_is_passed_over(
    tmp_path: Path, environment: dict[str, str], script: str, why: str
) -> None:
    """A program that is no pulumi is named with what it did, and the cache is used instead."""
    place(tmp_path / "bin", script)
    answer = find(environment)
    assert isinstance(answer, str)
    assert f"{tmp_path}/bin/pulumi does not tell its version ({why})" in answer
    place(cache_directory(environment), "exit 1")
    assert isinstance(find(environment), PulumiCli)


def test_one_that_cannot_be_started_is_passed_over(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    """A file of that name that the kernel refuses is said to be one."""
    place(tmp_path / "bin", "echo v3.1.0")
    (tmp_path / "bin" / "pulumi").write_bytes(b"\x7fELF")
    assert "Exec format error" in str(find(environment))


def test_one_that_does_not_answer_is_passed_over(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    """A pulumi that hangs does not hang us."""
    place(tmp_path / "bin", "exec sleep 1000")
    assert "no answer within" in str(find(environment, limit_s=0.2))


def test_one_without_its_language_host_is_passed_over(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    """A pulumi that could run no YAML program is named with what is missing."""
    place(tmp_path / "bin", "echo v3.1.0", names=PROGRAMS[:1])
    assert f"is there without {PROGRAMS[1]}" in str(find(environment))


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"XDG_CACHE_HOME": "/c", "HOME": "/h"}, "/c/reconciler/pulumi-"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/reconciler/pulumi-"),
        ({"HOME": "/h"}, "/h/.cache/reconciler/pulumi-"),
        ({}, "/nonexistent/.cache/reconciler/pulumi-"),
    ],
)
def test_the_cache_is_where_the_desktop_rules_put_it(
    environment: dict[str, str], expected: str
) -> None:
    """XDG_CACHE_HOME where it is absolute, else below HOME."""
    assert str(cache_directory(environment)) == expected + VERSION


def test_our_own_environment_is_the_default(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    """Without an argument, this process's PATH and HOME count."""
    place(cache_directory(environment), "exit 1")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert find() == find(os.environ)
