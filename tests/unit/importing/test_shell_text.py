"""How a shell's text is read: as a shell would cut it, with nothing run."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.importing.draft import SHELL_CLOSE, SHELL_OPEN
from reconciler.importing.shell_text import Command, ShellFault, commands


def words(text: str) -> list[list[str]]:
    found = commands(text)
    assert not isinstance(found, ShellFault)
    return [list(command.words) for command in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("curl -d 'a b' \\\n  https://x", [["curl", "-d", "a b", "https://x"]]),
        ("a; b && c | d\ne", [["a"], ["b"], ["c"], ["d"], ["e"]]),
        ("curl '{\n\"a\": \"b;c\"}' # words\nb", [["curl", '{\n"a": "b;c"}'], ["b"]]),
        ('a "b \\"c\\" \\$d"', [["a", 'b "c" $d']]),
        ("a '$b'", [["a", "$b"]]),
        ('a "$b/${c}"', [["a", f"{SHELL_OPEN}b{SHELL_CLOSE}/{SHELL_OPEN}c{SHELL_CLOSE}"]]),
        ('a "`d`"', [["a", f"{SHELL_OPEN}(…){SHELL_CLOSE}d{SHELL_OPEN}(…){SHELL_CLOSE}"]]),
        ("https://x/#a", [["https://x/#a"]]),
        ("a 'it''s' \\' ';'", [["a", "its", "'", ";"]]),
        ("a\r\nb", [["a"], ["b"]]),
    ],
)  # fmt: skip
def test_words_are_those_of_a_shell(text: str, expected: list[list[str]]) -> None:
    """Quotes, comments, lists and lines that go on are cut as a shell does; `$x` is marked."""
    assert words(text) == expected


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12), min_size=1))
def test_what_is_quoted_comes_back(items: list[str]) -> None:
    """Any words, quoted for a shell, are read as they are."""
    assert words(shlex.join(items)) == [items]


@given(st.text("ab '\"\\$`(){}#;&|<>\n", max_size=40))
def test_no_text_is_too_odd(text: str) -> None:
    """Every text is read, or a fault in one of its lines; nothing is raised."""
    found = commands(text)
    if isinstance(found, ShellFault):
        assert 1 <= found.line <= text.count("\n") + 1


def test_a_command_knows_its_line() -> None:
    """A command's line is where its first word stands, over comments and lines that go on."""
    assert commands("# x\n\n  a \\\n b\n c") == (Command(3, ("a", "b")), Command(5, ("c",)))


def test_an_open_quote_is_told_of_where_it_begins() -> None:
    """A quote that is never closed names its line."""
    assert commands("a\nb 'c\nd") == ShellFault(2, "a quote is not closed from here on")
