"""What lies in an imported file: its documents, with the place of everything."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from reconciler.adapters import yaml_reader
from reconciler.adapters.yaml_faults import YamlFault, one_line
from reconciler.adapters.yaml_reader import Shape, escape
from reconciler.api.wire import Pointer
from reconciler.files import read_below, read_regular
from reconciler.importing.curl import BodyFile, Call, CurlFault, read_call, target_of
from reconciler.importing.documents import Document, is_known, spread
from reconciler.importing.draft import SHELL_OPEN
from reconciler.importing.json_text import JsonFault, read_json
from reconciler.importing.settings_view import is_printed, read_printed
from reconciler.importing.shell_text import ShellFault, commands

__all__ = ["STANDARD_INPUT", "Found", "Trouble", "read_input"]

STANDARD_INPUT: Final = "-"
# 100 times the size of a large request; a cluster's worth of stacks is imported in parts.
MAX_BYTES: Final = 1 << 20

_CURL: Final = re.compile(r"(?:\A|[\s;&|(/])curl\s")
_PROMPT: Final = re.compile(r"^([ \t]*)[$>] (?=(?:\w+=\S*\s+)*(?:\S*/)?curl\s)", re.MULTILINE)
_POINTER_SHOWN: Final = 200


def _texts(depth: int) -> Shape:
    """Return the shape of a tree in which every scalar is read as it is written."""
    shape = Shape(types=frozenset({"string", "null"}))
    for _ in range(depth):
        shape = Shape(types=shape.types, other=shape, items=shape)
    return shape


_AS_WRITTEN: Final = _texts(yaml_reader.MAX_DEPTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One document of a file; `line` is where it begins, `places` say where each field is.

    `note` is something to be said about its text; `hidden` are secrets beside it.
    """

    label: str
    document: Document
    line: int = 0
    places: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    note: str = ""
    hidden: frozenset[str] = field(default=frozenset(), repr=False)

    def where(self, pointer: Pointer) -> str:
        """Write a place as `file:line:column: /pointer`, as far as it is known."""
        text = "".join("/" + escape(str(part)) for part in pointer)
        place = next((self.places[at] for at in _upwards(text) if at in self.places), None)
        at = f":{place[0]}:{place[1]}" if place else f":{self.line}" if self.line else ""
        shown = one_line(text[:_POINTER_SHOWN])
        return f"{self.label}{at}" + (f": {shown}" if shown else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why a part of a file cannot be read; `skipped`: it is none of what is imported."""

    where: str
    message: str
    skipped: bool = False


def _upwards(text: str) -> Iterator[str]:
    while text:
        yield text
        text = text.rpartition("/")[0]
    yield ""


def read_input(name: str) -> list[Found | Trouble]:
    """Read a file, or standard input for `-`; whatever is in it, the answer is a list."""
    label = "standard input" if name == STANDARD_INPUT else one_line(name)
    try:
        content = _content(name)
    except OSError as error:
        message = f"cannot be read: {error.strerror or error}"
        return [Trouble(where=label, message=message)]
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return [Trouble(where=f"{label}:{line}", message="is not UTF-8 text")]
    if not text.strip():
        return [Trouble(where=label, message="is empty")]
    folder = Path() if name == STANDARD_INPUT else Path(name).parent
    if text.lstrip()[0] in "{[":
        return _json(label, text)
    if is_printed(text):
        return _printed(label, text)
    # A command may look like YAML to YAML, and may stand in it too.
    found = _yaml(label, content)
    known = any(isinstance(each, Found) and is_known(each.document.tree) for each in found)
    return list(_curl(label, text, folder)) if _CURL.search(text) and not known else found


def _content(name: str) -> bytes:
    if name != STANDARD_INPUT:
        # Whoever names a link means the file behind it.
        return read_regular(Path(name).resolve(), MAX_BYTES)
    content = sys.stdin.buffer.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise OSError(0, f"is larger than {MAX_BYTES} bytes")
    return content


def _json(label: str, text: str) -> list[Found | Trouble]:
    read = read_json(text)
    if isinstance(read, JsonFault):
        return [Trouble(where=f"{label}:{read.line}:{read.column}", message=read.message)]
    # JSON is YAML, mostly, and the reader of YAML knows where everything stands.
    placed = yaml_reader.read(text.encode("utf-8", "replace"), _AS_WRITTEN)
    places = {} if isinstance(placed, YamlFault) else placed.places
    note = _COMMA if read.commas else ""
    whole = Found(label=label, document=Document(tree=read.tree), places=places, note=note)
    return [replace(whole, document=document) for document in spread(whole.document)]


_COMMA: Final = "a comma stands before a closing bracket, which the API itself would refuse"


def _printed(label: str, text: str) -> list[Found | Trouble]:
    tree, line = read_printed(text)
    if line:
        message = "is no line of what `pulumi deployment settings get` prints"
        return [Trouble(where=f"{label}:{line}", message=message)]
    return [Found(label=label, document=Document(tree=tree))]


def _yaml(label: str, content: bytes) -> list[Found | Trouble]:
    read = yaml_reader.read_all(content, _AS_WRITTEN)
    if isinstance(read, YamlFault):
        where = f"{label}:{read.line}:{read.column}"
        pointer = f": {one_line(read.pointer)}" if read.pointer else ""
        return [Trouble(where=where + pointer, message=one_line(read.message))]
    return [
        Found(label=label, document=document, places=each.places)
        for each in read
        if each.tree is not None
        for document in spread(Document(tree=each.tree))
    ]


def _curl(label: str, text: str, folder: Path) -> Iterator[Found | Trouble]:
    found = commands(_PROMPT.sub(r"\1", text))
    if isinstance(found, ShellFault):
        yield Trouble(where=f"{label}:{found.line}", message=found.message)
        return
    for command in found:
        call = read_call(command)
        if isinstance(call, CurlFault):
            yield Trouble(where=f"{label}:{call.line}", message=call.message)
        elif call is not None:
            yield from _call(label, call, folder)


def _call(label: str, call: Call, folder: Path) -> Iterator[Found | Trouble]:
    where = f"{label}:{call.line}"
    target = target_of(call.url)
    if target is None:
        yield Trouble(where=where, message="calls no deployments of a stack", skipped=True)
        return
    known = target.rest in {"", "settings"} or target.rest.endswith("schedules")
    if call.method == "GET" or not known:
        yield Trouble(where=where, message="asks for no deployment", skipped=True)
        return
    body = _body(call, folder)
    if isinstance(body, OSError):
        message = f"its body cannot be read: {body.strerror or 'no such file'}"
        yield Trouble(where=where, message=message)
        return
    read = read_json(body)
    if isinstance(read, JsonFault):
        message = f"its body {read.message} (line {read.line}, column {read.column} of the body)"
        yield Trouble(where=where, message=message)
        return
    stack = "" if SHELL_OPEN in target.stack else target.stack
    document = Document(tree=read.tree, stack=stack, route=target.rest)
    note = _COMMA if read.commas else ""
    for each in spread(document):
        yield Found(label=label, document=each, line=call.line, note=note, hidden=call.hidden)


def _body(call: Call, folder: Path) -> str | OSError:
    """Put a body together; its files are looked for beside the file that names them."""
    parts: list[str] = []
    for part in call.body:
        if isinstance(part, BodyFile):
            try:
                content = read_below(folder / part.name, folder, MAX_BYTES)
            except (OSError, ValueError) as error:
                return error if isinstance(error, OSError) else OSError(0, "has no such name")
            parts.append(content.decode("utf-8", "replace"))
        else:
            parts.append(part)
    return call.between.join(parts)
