"""The source keeps to its own rules: sizes, docstrings, and nothing left over."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LONGEST_MODULE = 600
LONGEST_FUNCTION = 60

# Each is in pieces here, so that this file does not hold what it looks for.
LEFTOVERS = (
    r"\bTO" + r"DO\b",
    r"\bFIX" + r"ME\b",
    r"\bXX" + r"X\b",
    r"NotImplemented" + r"Error",
    r"pytest\.ski" + r"p\(",
    r"pragma: no co" + r"ver",
)
# Where somebody's machine shows: directories of people and of workspaces.
MACHINE_PATHS = (
    r"(?<![\w.${}-])/wo" + r"rk/",
    r"(?<![\w.${}-])/ho" + r"me/\w",
    r"(?<![\w.${}-])/roo" + r"t/\w",
    r"(?<![\w.${}-])/Us" + r"ers/\w",
)
# Where packages come from is the business of whoever installs them.
REGISTRIES = (
    "py" + r"pi\.org",
    "python" + r"hosted\.org",
    r"proxy\.go" + r"lang\.org",
    r"sum\.go" + r"lang\.org",
    "npm" + r"js\.(?:org|com)",
    r"index-" + r"url\s*=",
)

TOP_LEVEL = (
    *(".gitignore", ".pre-commit-hooks.yaml", "CHANGELOG.md", "CONTRIBUTING.md", "Containerfile"),
    *("LICENSE", "Makefile", "README.md", "pyproject.toml", "setup.py"),
    *("deployments.d", "docs", "examples", "reconciler", "requirements", "schemas", "systemd"),
    *(".ci", "tests", "tools"),
)


@cache
def tracked() -> tuple[Path, ...]:
    """Return every file that is in the repository or would be added to it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    names = sorted(filter(None, listed.stdout.decode().split("\0")))
    return tuple(path for path in (ROOT / name for name in names) if path.is_file())


def python(folder: str) -> list[Path]:
    return [p for p in tracked() if p.suffix == ".py" and p.is_relative_to(ROOT / folder)]


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def found_in(patterns: tuple[str, ...], paths: list[Path]) -> list[str]:
    pattern = re.compile("|".join(patterns))
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in paths
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1)
        if pattern.search(line)
    ]


def texts() -> list[Path]:
    return [path for path in tracked() if path.suffix not in {".png", ".sum"}]


def test_no_module_is_too_long() -> None:
    """A module of the package holds one idea, in at most 600 lines."""
    sizes = {p: len(p.read_text().splitlines()) for p in python("reconciler")}
    assert len(sizes) > 50
    assert {str(p): size for p, size in sizes.items() if size > LONGEST_MODULE} == {}


def test_no_function_is_too_long() -> None:
    """A function of the package fits a screen: at most 60 lines."""
    long = [
        f"{path.name}:{node.lineno} {node.name}"
        for path in python("reconciler")
        for node in functions(path)
        if (node.end_lineno or 0) - node.lineno + 1 > LONGEST_FUNCTION
    ]
    assert long == []


def test_every_module_says_why_it_is_there() -> None:
    """Each module of the package begins with a docstring."""
    bare = [p.name for p in python("reconciler") if not ast.get_docstring(ast.parse(p.read_text()))]
    assert bare == []


def test_every_test_says_what_it_keeps() -> None:
    """Each test function has a docstring: the behaviour, in a sentence."""
    bare = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in python("tests")
        for node in functions(path)
        if node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert bare == []


def test_the_top_level_holds_what_it_should() -> None:
    """A file that somebody has left there, a log say, is not taken in."""
    assert {path.relative_to(ROOT).parts[0] for path in tracked()} <= set(TOP_LEVEL)


def test_nothing_is_left_over() -> None:
    """No note to oneself, no unmade function, no skipped test and no uncounted line is here."""
    assert found_in(LEFTOVERS, texts()) == []


def test_no_file_names_a_machine_or_a_registry() -> None:
    """No file names a directory of one machine, or a place where packages come from."""
    assert found_in(MACHINE_PATHS + REGISTRIES, [p for p in tracked() if p.suffix != ".png"]) == []


def test_the_tests_are_no_package() -> None:
    """Tests are imported by their path, so that two may have one name."""
    assert [p for p in python("tests") if p.name == "__init__.py"] == []
