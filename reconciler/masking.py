"""Keeps secrets out of what is written: logs, messages, errors. Pure.

A program can print a secret in many forms, and its output comes in pieces that may end in
the middle of one. A `Redactor` knows the forms (needles) of every secret and puts `[secret]`
in place of each, however the output is cut: what it gives is the same for every split.

It cannot find what a program has changed in a way of its own (reversed, encrypted, spelled
letter by letter): it guards against accidents, not against a program that wants to tell.
"""

from __future__ import annotations

import base64
import contextlib
import html
import json
import re
import shlex
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import pairwise
from urllib.parse import quote, quote_plus

__all__ = ["MASK", "SHORTEST_MASKED", "TOKENS", "Redactor"]

MASK = "[secret]"
_MASK = MASK.encode()

# A shorter value is left alone inside other text: "1" or "no" as a secret would mask half of
# every log and so tell its own value, while hiding nothing.
SHORTEST_MASKED = 4

# What well-known services' tokens look like, wherever they stand.
TOKENS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{36,}"
    r"|\bgithub_pat_[A-Za-z0-9_]{40,}"
    r"|\bglpat-[A-Za-z0-9_-]{20,}"
    r"|\bpul-[0-9a-f]{40}\b"
    r"|\bxox[abprs]-[A-Za-z0-9-]{10,}"
    r"|\bsk_live_[A-Za-z0-9]{16,}"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\."
    # A run of letters is looked at once, and not from each of them anew.
    r"|(?<![a-z])[a-z]+://[^\s/:@]+:[^\s/@]+@"
)

# The widths at which `base64` and PEM writers break their lines. A whole number of groups of
# four letters fits in each, so that the pieces are those of the unbroken text.
_BASE64_WIDTHS = (76, 64)

# A candidate for the beginning of a needle is looked for by this many of its first bytes.
_START = 4


class Redactor:
    """Masks a fixed set of secrets in one stream of bytes, and in texts beside it.

    Occurrences that overlap are masked as one, so that no tail of one secret stays visible
    behind the head of another. One stream at a time: `flush` ends it and begins the next.
    Not for use by several threads at once. `masked` counts the masks that were put.
    """

    __slots__ = ("_covered", "_find", "_held", "_needles", "_secrets", "_starts", "masked")

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = frozenset(secrets)
        self._held = b""
        self.masked = 0
        self._covered = 0  # how much of it a mask already stands for
        self._prepare()

    def __repr__(self) -> str:
        return f"Redactor({len(self._secrets)} secrets)"

    def add(self, *secrets: str) -> None:
        """Mask these secrets too, from what is still held back on."""
        if not self._secrets.issuperset(secrets):
            self._secrets |= set(secrets)
            self._prepare()

    def feed(self, chunk: bytes) -> bytes:
        """Return what can be shown now; what may be the beginning of a secret is held back.

        That is always shorter than the longest needle.
        """
        text = self._held + chunk
        decided = self._decided(text)
        shown, self._covered = self._mask(text, decided, self._covered)
        self._held = text[decided:]
        return shown

    def flush(self) -> bytes:
        """Return what was held back, masked: the stream has ended."""
        shown, _ = self._mask(self._held, len(self._held), self._covered)
        self._held, self._covered = b"", 0
        return shown

    def mask_text(self, text: str) -> str:
        """Return a whole text masked; the stream is not touched.

        A secret too short to be masked inside other text is masked where it is all there is.
        """
        if text in self._secrets and text:
            self.masked += 1
            return MASK
        data = text.encode("utf-8", "surrogatepass")
        return self._mask(data, len(data), 0)[0].decode("utf-8", "surrogatepass")

    def _prepare(self) -> None:
        """Build the patterns that find needles, the longest first, and their beginnings."""
        self._needles = sorted({n for secret in self._secrets for n in _needles(secret)})
        self._find = re.compile(_alternatives(self._needles))
        heads = sorted({needle[:_START] for needle in self._needles})
        self._starts = re.compile(b"(?=" + _alternatives(heads) + b")")

    def _decided(self, text: bytes) -> int:
        """Return the first position where a needle may begin that is not all there yet."""
        longest = max(map(len, self._needles), default=0)
        begin = max(0, len(text) - longest + 1)
        last = max(begin, len(text) - _START + 1)
        for match in self._starts.finditer(text, begin):
            if self._is_beginning(text[match.start() :]):
                return match.start()
        for position in range(last, len(text)):
            if self._is_beginning(text[position:]):
                return position
        return len(text)

    def _is_beginning(self, tail: bytes) -> bool:
        """Whether some needle goes on after `tail`."""
        index = bisect_left(self._needles, tail)
        after = self._needles[index : index + 2]
        return any(needle != tail and needle.startswith(tail) for needle in after)

    def _mask(self, text: bytes, decided: int, covered: int) -> tuple[bytes, int]:
        """Return `text` up to `decided` masked, and how far beyond that the mask reaches.

        The first `covered` bytes belong to an occurrence for which a mask was given before.
        """
        parts: list[bytes] = []
        end = covered
        match = self._find.search(text)
        while match is not None and match.start() < decided:
            if match.start() >= end:
                parts += (text[end : match.start()], _MASK)
                self.masked += 1
            end = max(end, match.end())
            # One that begins inside this one is found as well: nothing of it may stay visible.
            match = self._find.search(text, match.start() + 1)
        parts.append(text[end:decided])
        return b"".join(parts), max(end - decided, 0)


def _alternatives(needles: Iterable[bytes]) -> bytes:
    """Return a pattern for any of them, the longest first; for none, one that never matches.

    Grouped by the first byte, since alternatives are tried one by one at every position.
    """
    groups: dict[bytes, list[bytes]] = {}
    for needle in needles:
        groups.setdefault(needle[:1], []).append(needle[1:])
    if not groups:
        return rb"(?!)"
    return b"|".join(
        re.escape(first) + b"(?:" + b"|".join(map(re.escape, _longest_first(rest))) + b")"
        for first, rest in groups.items()
    )


def _longest_first(needles: Iterable[bytes]) -> list[bytes]:
    return sorted(needles, key=len, reverse=True)


def _needles(secret: str) -> Iterator[bytes]:
    """Yield every form of a secret that is masked: of the whole, and of each of its lines."""
    values = {secret, secret.strip(), *(line.strip() for line in secret.splitlines())}
    for value in values:
        if len(value) < SHORTEST_MASKED:
            continue
        # No form is shorter than the value.
        yield from _plain(value)
        yield from _quoted(value)


def _plain(value: str) -> Iterator[bytes]:
    """Yield the value's bytes, in hexadecimal and in base64."""
    for data in _encoded(value):
        yield data
        yield data.hex().encode()
        yield data.hex().upper().encode()
        for form in _base64(data):
            yield form
            yield form.translate(bytes.maketrans(b"+/", b"-_"))


def _encoded(value: str) -> set[bytes]:
    """Return the value as bytes; an environment's undecodable bytes come back as they were."""
    encoded = {value.encode("utf-8", "surrogatepass")}
    # A lone surrogate that stands for no byte has the one form only.
    with contextlib.suppress(UnicodeEncodeError):
        encoded.add(value.encode("utf-8", "surrogateescape"))
    return encoded


def _base64(data: bytes) -> Iterator[bytes]:
    """Yield the base64 letters that depend on `data` alone, at each of the three alignments.

    A value inside a longer one that is encoded begins at any of three places in a group. The
    letters at its borders also depend on its neighbours, and are left out.
    """
    whole = base64.b64encode(data)
    yield whole
    for before in range(3):
        letters = base64.b64encode(b"\0" * before + data)
        yield letters[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]
    for width in _BASE64_WIDTHS:
        cuts = [*range(0, len(whole), width), len(whole)]
        yield from (whole[start:end] for start, end in pairwise(cuts))


def _quoted(value: str) -> Iterator[bytes]:
    """Yield the value as it stands in URLs, JSON, shells, HTML and programs' literals."""
    text = value.encode("utf-8", "replace").decode()
    for escaped in (quote(text, safe=""), quote(text), quote_plus(text)):
        yield escaped.encode()
        yield re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), escaped).encode()
    for ascii_only in (True, False):
        once = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        yield once.encode()
        yield json.dumps(once, ensure_ascii=ascii_only)[1:-1].encode()
        # Go's encoder, which is Pulumi's, also escapes what HTML could mistake.
        yield re.sub("[<>&]", lambda match: f"\\u{ord(match[0]):04x}", once).encode()
    shell = shlex.quote(text)
    yield shell.encode()
    yield (shell if shell == text else shell[1:-1]).encode()
    yield re.sub(r"([^\w@%+=:,./-])", r"\\\1", text).encode()  # printf %q
    yield re.sub(r'(["\\$`])', r"\\\1", text).encode()  # within double quotes
    yield html.escape(text).encode()
    yield repr(text)[1:-1].encode()
