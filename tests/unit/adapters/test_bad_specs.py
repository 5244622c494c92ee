"""Every kind of mistake a spec can hold, and the exact line a person gets for it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from reconciler.adapters.credentials import SecretRules
from reconciler.adapters.specs import SpecReader

CASES = Path(__file__).with_name("bad_specs.txt")
RULES = SecretRules(secrets_dir=(Path("/etc/secrets"),))
GOOD = "stack: acme/web/prod\nsourceContext: {git: {repoUrl: .., branch: main}}\n"
SECRETS = ("hunter2", "ghp_0123")


def cases() -> list[object]:
    found: list[object] = []
    for section in CASES.read_text().split("==== ")[1:]:
        name, _, rest = section.partition("\n")
        content, _, lines = rest.partition("---->\n")
        expected = [line.strip() for line in lines.strip().splitlines()]
        found.append(pytest.param(content, expected, id=name))
    return found


def lines_for(directory: Path) -> list[str]:
    problems = SpecReader(directory, RULES).scan().problems
    return [str(problem).replace(f"{directory}/", "") for problem in problems]


@pytest.mark.parametrize(("content", "expected"), cases())
def test_a_mistake_has_its_line(content: str, expected: list[str], tmp_path: Path) -> None:
    """Each mistake gives the expected line, which shows no secret, and nothing else."""
    (tmp_path / "web.yaml").write_text(content)
    lines = lines_for(tmp_path)
    assert lines == expected
    assert not any(secret in line for line in lines for secret in SECRETS)


def test_all_mistakes_are_said_at_once(tmp_path: Path) -> None:
    """A file with several mistakes gives them all, in the order of the file."""
    (tmp_path / "web.yaml").write_text(
        "stack: acme\n"
        "sourceContext: {git: {repoUrl: 'ext::x', branch: main, commit: abcdef0}}\n"
        "operation: destroy\n"
        "operationContext: {environmentVariables: {TOKEN: hunter2}}\n"
        "reconcile: {timeout: 0s, supend: true}\n"
    )
    places = [line.split(": ")[1] for line in lines_for(tmp_path)]
    assert places == [
        "/stack",
        "/sourceContext/git/repoUrl",
        "/sourceContext/git/commit",
        "/operation",
        "/operationContext/environmentVariables/TOKEN",
        "/reconcile/timeout",
        "/reconcile/supend",
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (GOOD.encode("utf-16"), "web.yaml:1:1: is not UTF-8 text; save the file as UTF-8"),
        (
            GOOD.encode() + b"labels: {a: \xff}\n",
            "web.yaml:3:1: is not UTF-8 text; save the file as UTF-8",
        ),
        (
            GOOD.encode() + b"labels: {a: b\x07}\n",
            (
                "web.yaml:3:14: holds the control character U+0007, which YAML does not allow; "
                "remove it"
            ),
        ),
        (
            GOOD.encode() + b'operationContext: {preRunCommands: ["a\\0b"]}\n',
            (
                "web.yaml:3:37: /operationContext/preRunCommands/0: holds a NUL character, which "
                "no program can be given"
            ),
        ),
        (
            GOOD.encode() + b'"a\\nb\\e[2J": x\n',
            (
                "web.yaml:3:1: /a\\nb\\x1b[2J: is no key of a spec; known here: stack, "
                "sourceContext, executorContext, operation, operationContext, inheritSettings, "
                "notSecret, labels, schedules, reconcile"
            ),
        ),
        (b"[" * 100_000, "web.yaml:1:1001: is nested far too deep; flatten it"),
    ],
    ids=["UTF-16", "Latin-1", "a bell", "a NUL", "a key that moves the cursor", "a bomb"],
)
def test_bytes_that_are_no_text(content: bytes, expected: str, tmp_path: Path) -> None:
    """What is no text, or not a plain one, is said in one plain line."""
    (tmp_path / "web.yaml").write_bytes(content)
    assert lines_for(tmp_path) == [expected]


def test_a_long_name_is_cut(tmp_path: Path) -> None:
    """However long a key is, its line can be read."""
    (tmp_path / "web.yaml").write_text(GOOD + "x" * 900 + ": 1\n")
    (line,) = lines_for(tmp_path)
    assert f"/{'x' * 499}…: is no key of a spec" in line
    assert len(line) < 800


def test_any_bytes_give_a_problem_or_a_spec(tmp_path: Path) -> None:
    """Whatever is done to a good file, reading it never fails other than by a problem."""
    dice = random.Random(7)
    good = (GOOD + "reconcile: {timeout: 1h}\nlabels: {a: 'b', c: \"d\"}\n").encode()
    path = tmp_path / "web.yaml"
    letters = b"\t\n :-[]{}&*!|>'\"%@`#,?~\\0a\xc3\xff"
    for _ in range(1000):
        content = bytearray(good)
        for _ in range(dice.randint(1, 4)):
            at = dice.randrange(len(content))
            content[at : at + dice.randint(0, 2)] = bytes([dice.choice(letters)])
        path.write_bytes(content)
        catalog = SpecReader(tmp_path, RULES).scan()
        assert len(catalog.specs) + len(catalog.broken) == 1
        assert all("\n" not in str(problem) for problem in catalog.problems)
