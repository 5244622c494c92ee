import base64
import html
import json
import re
import shlex
import urllib.parse

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconciler.masking import MASK, SHORTEST_MASKED, Redactor

CANARY = "Tr0ub4dor&3/<+ü'\"\\x"
KEY = "-----BEGIN KEY-----\nMIIEowIBAAKCAQEA7bq9\nx5zW+Zk/1mT3q0dY\n-----END KEY-----\n"


def in_pieces(redactor: Redactor, text: bytes, size: int) -> bytes:
    shown = [redactor.feed(text[start : start + size]) for start in range(0, len(text), size)]
    return b"".join(shown) + redactor.flush()


def test_a_secret_becomes_the_mask() -> None:
    """A secret in a text is replaced, and the rest stays as it was."""
    assert Redactor(["hunter22"]).mask_text("the password is hunter22!") == (
        f"the password is {MASK}!"
    )


FORMS = {
    "plain": CANARY,
    "base64": base64.b64encode(CANARY.encode()).decode(),
    "base64 for URLs": base64.urlsafe_b64encode(CANARY.encode()).decode(),
    "hexadecimal": CANARY.encode().hex(),
    "upper-case hexadecimal": CANARY.encode().hex().upper(),
    "percent-encoded": urllib.parse.quote(CANARY, safe=""),
    "percent-encoded path": urllib.parse.quote(CANARY),
    "percent-encoded form": urllib.parse.quote_plus(CANARY),
    "lower-case percent-encoded": re.sub(
        "%..", lambda match: match[0].lower(), urllib.parse.quote(CANARY, safe="")
    ),
    "JSON": json.dumps(CANARY)[1:-1],
    "JSON, not only ASCII": json.dumps(CANARY, ensure_ascii=False)[1:-1],
    "JSON in JSON": json.dumps(json.dumps(CANARY)[1:-1])[1:-1],
    "Go's JSON": json.dumps(CANARY).replace("&", "\\u0026").replace("<", "\\u003c")[1:-1],
    "shell-quoted": shlex.quote(CANARY),
    "within double quotes": re.sub(r'(["\\$`])', r"\\\1", CANARY),
    "HTML": html.escape(CANARY),
    "Python's repr": repr(CANARY)[1:-1],
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_every_form_of_a_secret_is_masked(form: str) -> None:
    """However a program writes a secret, the form is found within other text."""
    shown = Redactor([CANARY]).mask_text(f"key={form};")
    assert shown.startswith(f"key={MASK}")
    assert form not in shown
    assert len(shown) <= len(f"key={MASK};") + len("'") + len("]")


@pytest.mark.parametrize("before", ["", "x", "xy", "xyz", "user:"])
@pytest.mark.parametrize("after", ["", "\n", "ab", "abc"])
def test_base64_is_masked_at_every_alignment(before: str, after: str) -> None:
    """A secret inside a longer text that is encoded leaves at most its border letters."""
    secret = "correct horse battery staple"
    encoded = base64.b64encode(f"{before}{secret}{after}".encode()).decode()
    shown = Redactor([secret]).mask_text(encoded)
    assert MASK in shown
    assert len(shown.replace(MASK, "")) <= len(before + after) * 4 / 3 + 8


@pytest.mark.parametrize("width", [64, 76])
def test_wrapped_base64_is_masked_line_by_line(width: int) -> None:
    """`base64` and PEM break their lines; each line is a secret of its own."""
    encoded = base64.b64encode(KEY.encode()).decode()
    lines = [encoded[start : start + width] for start in range(0, len(encoded), width)]
    assert Redactor([KEY]).mask_text("\n".join(lines)) == "\n".join([MASK] * len(lines))


def test_each_line_of_a_secret_is_masked() -> None:
    """A key that is printed line by line, with another line ending, is masked all the same."""
    shown = Redactor([KEY]).mask_text(KEY.replace("\n", "\r\n> "))
    assert not any(line in shown for line in KEY.splitlines())


def test_the_whole_of_a_secret_with_several_lines_is_one_mask() -> None:
    """The longest form wins over its parts."""
    assert Redactor([KEY]).mask_text(f"[{KEY}]") == f"[{MASK}]"


@pytest.mark.parametrize("short", ["", "1", "no", "abc"])
def test_a_short_secret_does_not_mask_everything(short: str) -> None:
    """A value of fewer than four characters is left alone inside other text."""
    assert len(short) < SHORTEST_MASKED
    text = "11 notes of abc, at 1"
    assert Redactor([short]).mask_text(text) == text
    assert in_pieces(Redactor([short]), text.encode(), 1) == text.encode()


def test_a_short_secret_is_masked_where_it_is_all_there_is() -> None:
    """A field that holds nothing but a short secret does not show it."""
    assert Redactor(["7"]).mask_text("7") == MASK
    assert Redactor([""]).mask_text("") == ""


def test_short_lines_of_a_secret_are_left_alone() -> None:
    """The brackets of a JSON key file do not mask every bracket."""
    redactor = Redactor(['{\n  "private_key": "s3cr3t-value"\n}'])
    assert redactor.mask_text("{ x }") == "{ x }"
    assert redactor.mask_text('say "private_key": "s3cr3t-value"') == f"say {MASK}"


def test_overlapping_secrets_leave_no_tail() -> None:
    """The end of one secret is not shown because another began before it."""
    assert Redactor(["abcdef", "defghi"]).mask_text("<abcdefghi>") == f"<{MASK}>"
    assert Redactor(["abcdef"]).mask_text("abcdefabcdef") == MASK * 2


def test_what_cannot_become_a_secret_is_shown_at_once() -> None:
    """A log does not lag behind by the length of the longest key."""
    redactor = Redactor(["x" * 5000])
    assert redactor.feed(b"Updating (dev)\n") == b"Updating (dev)\n"


def test_what_may_become_a_secret_is_held_back_until_it_is_decided() -> None:
    """The beginning of a secret waits for its rest, or for the end of the stream."""
    redactor = Redactor(["hunter22"])
    assert redactor.feed(b"say hunt") == b"say "
    assert redactor.feed(b"ing") == b"hunting"
    assert redactor.feed(b"hunter") == b""
    assert redactor.flush() == b"hunter"
    assert redactor.feed(b"22") == b"22"


def test_no_more_is_held_back_than_the_longest_form() -> None:
    """An endless run of overlapping secrets does not fill the memory."""
    redactor = Redactor(["aaaa"])
    longest = max(len(form) for form in redactor._needles)
    for _ in range(1000):
        redactor.feed(b"a" * 100)
        assert len(redactor._held) < longest
    assert redactor.flush() == b""


def test_an_added_secret_is_masked_from_then_on() -> None:
    """What is held back when a secret is added is masked by it as well."""
    redactor = Redactor(["abcdefgh"])
    assert redactor.feed(b"first-value abcd") == b"first-value "
    redactor.add("abcd")
    redactor.add("first-value")
    redactor.add("first-value")
    assert redactor.feed(b"! first-value") == f"{MASK}! {MASK}".encode()


def test_masking_a_text_does_not_touch_the_stream() -> None:
    """A message can be masked while a log is in the middle of a secret."""
    redactor = Redactor(["hunter22"])
    redactor.feed(b"hunt")
    assert redactor.mask_text("er22 hunter22") == f"er22 {MASK}"
    assert redactor.feed(b"er22") + redactor.flush() == MASK.encode()


def test_text_that_is_no_unicode_is_masked() -> None:
    """Undecodable bytes, in a secret from the environment or in a text, do no harm."""
    secret = b"\xff\xfe-s3cr3t".decode("utf-8", "surrogateescape")
    redactor = Redactor([secret])
    assert redactor.feed(b"<\xff\xfe-s3cr3t>") + redactor.flush() == f"<{MASK}>".encode()
    assert redactor.mask_text(f"\ud800 {secret}") == f"\ud800 {MASK}"
    assert Redactor(["\ud800abcd"]).mask_text("\ud800abcd") == MASK


def test_a_redactor_does_not_show_its_secrets() -> None:
    """`repr` says how many there are and nothing else."""
    assert repr(Redactor(["hunter22", "hunter22", "other"])) == "Redactor(2 secrets)"


SECRETS = st.lists(
    st.one_of(
        st.text("ab", min_size=4, max_size=9),
        st.text("ab\n&", min_size=1, max_size=12),
        st.sampled_from([CANARY, KEY, "secret", "[secret]"]),
    ),
    max_size=4,
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[str], bytes, list[int]]:
    """Return secrets, a text made of forms of them and of near misses, and where it is cut."""
    secrets = draw(SECRETS)
    needles = Redactor(secrets)._needles or [b"none"]
    piece = st.one_of(
        st.sampled_from(needles),
        st.sampled_from(needles).map(lambda needle: needle[: len(needle) // 2]),
        st.sampled_from(needles).map(lambda needle: needle[len(needle) // 2 :]),
        st.text("ab\n& ", max_size=6).map(str.encode),
        st.binary(max_size=4),
    )
    text = b"".join(draw(st.lists(piece, max_size=8)))
    cuts = draw(st.lists(st.integers(0, len(text)), max_size=12))
    return secrets, text, sorted(cuts)


@settings(max_examples=600, deadline=None)
@given(cases())
@example((["aaaa"], b"aaaaaaaaaa", [1, 3, 4, 5, 9]))
@example((["abcdef", "defghi"], b"abcdefghi", [4, 7]))
def test_every_split_gives_the_same(case: tuple[list[str], bytes, list[int]]) -> None:
    """Any split of any text into writes shows the same as the unsplit text."""
    secrets, text, cuts = case
    whole = Redactor(secrets)
    expected = whole.feed(text) + whole.flush()
    split = Redactor(secrets)
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert b"".join(map(split.feed, pieces)) + split.flush() == expected


@settings(max_examples=300, deadline=None)
@given(cases())
def test_no_form_of_a_secret_is_shown(case: tuple[list[str], bytes, list[int]]) -> None:
    """Between the masks there is nothing that is masked."""
    secrets, text, _ = case
    redactor = Redactor(secrets)
    shown = in_pieces(redactor, text, 3)
    for between in shown.split(MASK.encode()):
        assert not any(needle in between for needle in redactor._needles)
