from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.console.text import LONGEST_LINE, Piece, pieces, visible

ESC = "\x1b"


@pytest.mark.parametrize(
    ("given_", "shown"),
    [
        ("web-prod", "web-prod"),
        ("<b>web</b>", "<b>web</b>"),
        ("a\0b", "a␀b"),
        ("a\x7fb", "a␡b"),
        ("one\ntwo", "one two"),
        ("\u202eevil", "⟨U+202E⟩evil"),
        ("zero\u200bwidth", "zero⟨U+200B⟩width"),
        ("a\u2028b", "a⟨U+2028⟩b"),
        ("\ud800", "⟨U+D800⟩"),
        ("no\u00a0break", "no\u00a0break"),
        ("עברית", "עברית"),
        ("tab\there", "tab\there"),
    ],
)
def test_what_acts_unseen_becomes_visible(given_: str, shown: str) -> None:
    """NUL, marks of direction and letters without width are shown as what they are."""
    assert visible(given_) == shown


@given(st.text(alphabet=st.characters(codec=None)))
def test_nothing_unseen_is_left(text: str) -> None:
    """Whatever the text, what is shown has no control letter but a tab."""
    assert visible(text).replace("\t", "").replace("\u00a0", "").isprintable() or all(
        letter.isprintable() or letter == "\t" or letter.isspace() for letter in visible(text)
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("plain\n", [("plain", "")]),
        ("", []),
        (f"{ESC}[32m+{ESC}[0m file", [("+", "fg-green"), (" file", "")]),
        (
            f"{ESC}[1;31merror{ESC}[22m:{ESC}[39m x",
            [("error", "fg-red bold"), (":", "fg-red"), (" x", "")],
        ),
        (f"{ESC}[38;5;9mred", [("red", "fg-bright-red")]),
        (f"{ESC}[38;5;46mgreen", [("green", "fg-green")]),
        (f"{ESC}[38;5;240mgrey", [("grey", "")]),
        (f"{ESC}[38;2;0;0;255mblue", [("blue", "fg-blue")]),
        (f"{ESC}[38:2:255:255:0myellow", [("yellow", "fg-yellow")]),
        (f"{ESC}[48;5;1;4mlined", [("lined", "underline")]),
        (f"{ESC}[95mpink{ESC}[m!", [("pink", "fg-bright-magenta"), ("!", "")]),
        (f"{ESC}[999mwhat", [("what", "")]),
        (f"{ESC}[38mend", [("end", "")]),
        (f"{ESC}[2K{ESC}[1Gmoved", [("moved", "")]),
        (f"{ESC}]0;title\x07text", [("text", "")]),
        (f"{ESC}]8;;javascript:alert(1){ESC}\\click{ESC}]8;;{ESC}\\ me", [("click me", "")]),
        (f"{ESC}]8;;https://evil.example/unfinished", []),
        (f"{ESC}Psecret{ESC}\\seen", [("seen", "")]),
        ("\x9b31mred", [("red", "fg-red")]),
        (f"a{ESC}", [("a", "")]),
        ("a\0b\x08c", [("a␀b␈c", "")]),
        ("50 %\r100 %\r\n", [("50 %␍100 %", "")]),
        ("\u202etxt.exe", [("⟨U+202E⟩txt.exe", "")]),
    ],
)
def test_a_line_is_shown_in_its_colours(line: str, expected: list[tuple[str, str]]) -> None:
    """Colours become styles; links, titles and movements are left out, and their text stays."""
    assert [(piece.text, piece.style) for piece in pieces(line)] == expected


@given(st.text(alphabet=st.sampled_from(f"{ESC}[]8;0123m<>&\"'\0\x07\\ab \x9b:P")))
def test_no_line_has_an_escape_in_it(line: str) -> None:
    """Whatever the line, nothing of what is shown is obeyed by a terminal, and styles are ours."""
    for piece in pieces(line):
        assert piece.text.isprintable()
        assert all(
            name.startswith("fg-") or name in {"bold", "dim", "italic", "underline", "inverse"}
            for name in piece.style.split()
        )


def test_a_line_has_an_end() -> None:
    """A line of megabytes is cut, and says how much is missing."""
    found = pieces("x" * (LONGEST_LINE + 5))
    assert found == (Piece("x" * LONGEST_LINE + "… (5 more)"),)
