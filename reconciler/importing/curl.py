"""`curl` commands → the calls of the Deployments API that they make. Pure; nothing is run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from reconciler.importing.draft import SHELL_OPEN
from reconciler.importing.shell_text import Command

__all__ = ["BodyFile", "Call", "CurlFault", "Target", "read_call", "target_of"]

# Options of one letter that take a value, but for those read here.
_SHORT_WITH_VALUE: Final = "AbcCDeEFhKmoPQrtTuUwxyYz"
_LONG_WITH_VALUE: Final = frozenset(
    {
        *(
            "--cacert",
            "--capath",
            "--cert",
        ),
        *(
            "--cert-type",
            "--ciphers",
            "--compressed-ssh",
        ),
        *(
            "--config",
            "--connect-timeout",
            "--connect-to",
        ),
        *(
            "--cookie",
            "--cookie-jar",
            "--dump-header",
        ),
        *(
            "--form",
            "--interface",
            "--key",
        ),
        *(
            "--key-type",
            "--limit-rate",
            "--max-time",
        ),
        *(
            "--max-redirs",
            "--netrc-file",
            "--noproxy",
        ),
        *(
            "--oauth2-bearer",
            "--output",
            "--output-dir",
        ),
        *(
            "--pass",
            "--proxy",
            "--proxy-header",
        ),
        *(
            "--proxy-user",
            "--range",
            "--referer",
        ),
        *(
            "--resolve",
            "--retry",
            "--retry-delay",
        ),
        *(
            "--retry-max-time",
            "--stderr",
            "--trace",
        ),
        *(
            "--trace-ascii",
            "--upload-file",
            "--user",
        ),
        *(
            "--user-agent",
            "--write-out",
        ),
    }
)
_DATA: Final = frozenset(
    {"-d", "--data", "--data-ascii", "--data-binary", "--data-raw", "--json", "--data-urlencode"}
)
_PATH: Final = re.compile(
    r"/api/(?P<api>stacks|preview)/(?P<stack>[^/]+/[^/]+/[^/]+)/deployments(?P<rest>(?:/.*)?)\Z"
)


@dataclass(frozen=True, slots=True)
class BodyFile:
    """A part of a body that is in a file: `@name`."""

    name: str


@dataclass(frozen=True, slots=True)
class CurlFault:
    """Why a command cannot be read."""

    line: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call: the parts of its body are joined by `between`."""

    line: int
    method: str
    url: str
    body: tuple[str | BodyFile, ...]
    between: str
    hidden: frozenset[str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What of the API a URL names: the stack, and the path after `deployments/`."""

    preview: bool
    stack: str
    rest: str


@dataclass(slots=True)
class _Options:
    method: str = ""
    urls: list[str] = field(default_factory=list)
    body: list[str | BodyFile] = field(default_factory=list)
    json: bool = False
    get: bool = False
    hidden: set[str] = field(default_factory=set)
    wrong: str = ""


def target_of(url: str) -> Target | None:
    """Return what a URL names; None where it is none of the API's deployments."""
    try:
        path = unquote(urlsplit(url).path)
    except ValueError:
        return None
    match = _PATH.search(path)
    if match is None:
        return None
    return Target(
        preview=match["api"] == "preview", stack=match["stack"], rest=match["rest"].strip("/")
    )


def read_call(command: Command) -> Call | CurlFault | None:
    """Return the call that a command makes; None where it is no curl."""
    words = list(command.words)
    while words and re.match(r"[A-Za-z_]\w*=", words[0]):
        words.pop(0)  # variables for this command
    if not words or words[0].rpartition("/")[2] != "curl":
        return None
    options = _read(words[1:])
    if options.wrong:
        return CurlFault(command.line, options.wrong)
    urls = options.urls
    url = next((each for each in urls if target_of(each)), urls[0] if urls else "")
    implied = "POST" if options.body and not options.get else "GET"
    return Call(
        line=command.line,
        method=(options.method or implied).upper(),
        url=url,
        body=tuple(options.body),
        between="" if options.json else "&",
        hidden=frozenset(options.hidden),
    )


def _read(words: list[str]) -> _Options:
    found = _Options()
    rest = iter(words)
    for word in rest:
        if word.startswith("--"):
            _long(found, word, rest)
        elif word.startswith("-") and len(word) > 1:
            _short(found, word[1:], rest)
        else:
            found.urls.append(word)
    return found


def _long(found: _Options, word: str, rest: Iterator[str]) -> None:
    name, equals, value = word.partition("=")
    if name == "--get":
        found.get = True
    elif name in _DATA or name in {"--request", "--header", "--url"} | _LONG_WITH_VALUE:
        _option(found, name, value if equals else next(rest, ""))


def _short(found: _Options, letters: str, rest: Iterator[str]) -> None:
    """Read `-sS`, `-XPOST`, `-d {…}` and the like."""
    for index, letter in enumerate(letters):
        if letter == "G":
            found.get = True
        elif letter in "XHd" or letter in _SHORT_WITH_VALUE:
            value = letters[index + 1 :] or next(rest, "")
            name = {"X": "--request", "H": "--header", "u": "--user"}.get(letter, f"-{letter}")
            _option(found, name, value)
            return


def _option(found: _Options, name: str, value: str) -> None:
    if name == "--request":
        found.method = value
    elif name == "--url":
        found.urls.append(value)
    elif name == "--header":
        key, _, text = value.partition(":")
        if key.strip().lower() in {"authorization", "cookie"} and SHELL_OPEN not in text:
            found.hidden.add(text.split()[-1] if text.split() else "")
    elif name in {"--user", "--oauth2-bearer", "--pass", "--proxy-user"}:
        found.hidden |= {value, value.partition(":")[2]}
    elif name in {"-F", "--form", "-T", "--upload-file", "--data-urlencode"}:
        found.wrong = f"{name} makes a body that is no JSON; give it with --data or --json"
    elif name in _DATA:
        found.json = found.json or name == "--json"
        if value == "@-":
            found.wrong = f"{name} @- reads a body that is not in this file; give it in a file"
        elif value.startswith("@") and name != "--data-raw":
            found.body.append(BodyFile(value[1:]))
        else:
            found.body.append(value)
    found.hidden.discard("")
