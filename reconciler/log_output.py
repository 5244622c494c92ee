"""What a process says, to people, as JSON, or to systemd's journal: the one place that sets it up.

Every line has an end, and what is known to be a secret is masked in it. Whoever has something to
say for people uses `say`; whoever logs uses `logging` as ever.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from reconciler.errors import UsageError
from reconciler.masking import MASK, SHORTEST_MASKED, TOKENS

__all__ = ["JOURNAL", "chosen", "configure", "hide", "say", "tell_problem"]

JOURNAL: Final = "/run/systemd/journal/socket"

# A message is for a line; the end of a trace tells where it broke.
LONGEST_MESSAGE: Final = 8000
LONGEST_TRACE: Final = 8000
# Longer than the tokens of well-known services.
_MARGIN: Final = 500

# Variables that hold secrets, by parts of their names, and names that only say where one is.
_SECRET_NAMES: Final = ("SECRET", "TOKEN", "PASSWORD", "PASSPHRASE", "ACCESS_KEY", "PRIVATE_KEY")
_NO_SECRETS: Final = ("_FILE", "_PATH", "_DIR", "_DIRECTORY", "_URL", "_ID", "_NAME")

_SAID: Final = logging.getLogger("reconciler.said")
_PROBLEMS: Final = logging.getLogger("reconciler.problem")
_FIELDS: Final = "reconciler_fields"
_ENTRY: Final = "reconciler_entry"
_MESSAGE: Final = "reconciler_message"

# syslog's numbers, which the journal takes.
_PRIORITIES: Final = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}


def chosen(form: str, environ: Mapping[str, str], journal: str = JOURNAL) -> str:
    """Return the form that is meant: `auto` is the journal's where standard error leads to it.

    systemd says in JOURNAL_STREAM which file that is: who inherits the variable alone, and not
    the file, is not meant.
    """
    if form != "auto":
        return form
    try:
        here = os.fstat(2)
    except OSError:
        return "people"
    named = environ.get("JOURNAL_STREAM", "") == f"{here.st_dev}:{here.st_ino}"
    return "journal" if named and os.path.exists(journal) else "people"  # noqa: PTH110 - a socket


def configure(
    form: str, environ: Mapping[str, str], journal: str = JOURNAL, identifier: str = "reconciler"
) -> None:
    """Say everything in this form from now on; UsageError where there is no journal."""
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, _Output)]:
        root.removeHandler(handler)
        handler.close()
    values = tuple(v for name, v in environ.items() if _is_secret(name))
    output: _Output
    match form:
        case "json":
            output = _Json(values)
        case "journal":
            output = _Journal(values, journal, identifier)
        case _:
            output = _People(values)
    root.addHandler(output)
    # What others' libraries tell in passing is nobody's business; what we do is, to a machine.
    root.setLevel(logging.WARNING)
    level = logging.WARNING if form == "people" else logging.INFO
    logging.getLogger("reconciler").setLevel(level)
    _SAID.setLevel(logging.INFO)


def say(
    text: str, *, level: int = logging.INFO, entry: str = "", message: str = "", **fields: str
) -> None:
    """Tell people something, at once; the rest is for machines.

    `entry` is the text as a journal has it, which knows the time itself; `message` is what of it
    stands beside `fields` in JSON. Without them both have the whole text.
    """
    if any(isinstance(handler, _Output) for handler in logging.getLogger().handlers):
        texts = {_ENTRY: entry or text, _MESSAGE: message or text}
        _SAID.log(level, "%s", text, extra={_FIELDS: fields, **texts})
    else:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def tell_problem(text: str, **fields: str) -> None:
    """Tell people of a mistake of theirs."""
    if any(isinstance(handler, _Output) for handler in logging.getLogger().handlers):
        _PROBLEMS.warning("%s", text, extra={_FIELDS: fields})
    else:
        sys.stderr.write(f"{text}\n")


def hide(values: Callable[[], Iterable[str]]) -> None:
    """Mask what this returns, each time that something is said."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _Output):
            handler.hidden += (values,)


def _is_secret(name: str) -> bool:
    return any(part in name for part in _SECRET_NAMES) and not name.endswith(_NO_SECRETS)


class _Output(logging.Handler, ABC):
    """Masks and cuts what is to be said; the forms below say it.

    `text_of` names the text that a form has for itself.
    """

    text_of = ""

    def __init__(self, values: tuple[str, ...]) -> None:
        super().__init__()
        self.hidden: tuple[Callable[[], Iterable[str]], ...] = (lambda: values,)

    def emit(self, record: logging.LogRecord) -> None:
        """Say it; what cannot be said is nobody's to know."""
        try:
            text = getattr(record, self.text_of, "") or record.getMessage()
            self.put(record, self.shown(text, LONGEST_MESSAGE), self.trace(record))
        except RecursionError:
            raise
        except Exception:  # noqa: BLE001 - logging's own way: on standard error, once
            self.handleError(record)

    @abstractmethod
    def put(self, record: logging.LogRecord, text: str, trace: str) -> None:
        """Say a text that may be shown, with the end of its trace where there is one."""

    def trace(self, record: logging.LogRecord) -> str:
        """Return the end of the trace of an error, as it may be shown."""
        if not record.exc_info:
            return ""
        whole = logging.Formatter().formatException(record.exc_info)
        return self.shown(whole[-LONGEST_TRACE:], LONGEST_TRACE)

    def shown(self, text: str, longest: int) -> str:
        """Return a text masked, and cut where it is long."""
        found = {v for values in self.hidden for v in values() if len(v) >= SHORTEST_MASKED}
        for value in sorted(found, key=len, reverse=True):
            if value in text:
                text = text.replace(value, MASK)
        left = len(text) - longest
        # What is looked for is found where it begins before the cut.
        text = TOKENS.sub(MASK, text[: longest + _MARGIN])
        return text if left <= 0 else f"{text[:longest]} … ({left} more characters)"


class _People(_Output):
    """Lines for people: what is said on standard output, what is logged on standard error."""

    def put(self, record: logging.LogRecord, text: str, trace: str) -> None:
        """Write a line."""
        if record.name == _SAID.name:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()
        elif record.name == _PROBLEMS.name:
            sys.stderr.write(f"{text}\n")
        else:
            at = datetime.fromtimestamp(record.created, UTC)
            more = f"\n{trace}" if trace else ""
            sys.stderr.write(f"{at:%H:%M:%S}Z  {record.levelname.lower()}: {text}{more}\n")


class _Json(_Output):
    """An object a line, all on standard output."""

    text_of = _MESSAGE

    def put(self, record: logging.LogRecord, text: str, trace: str) -> None:
        """Write a line."""
        at = datetime.fromtimestamp(record.created, UTC)
        body: dict[str, object] = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": text,
        }
        body |= {name: self.shown(value, LONGEST_MESSAGE) for name, value in _fields_of(record)}
        if trace:
            body["trace"] = trace
        sys.stdout.write(json.dumps(body, ensure_ascii=False) + "\n")
        sys.stdout.flush()


class _Journal(_Output):
    """Entries of systemd's journal, with fields, in its own protocol."""

    text_of = _ENTRY

    def __init__(self, values: tuple[str, ...], path: str, identifier: str) -> None:
        super().__init__(values)
        self._path = path
        self._identifier = identifier
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise UsageError(
                f"there is no journal at {path} ({error.strerror}): --log-format journal is for "
                "a service of systemd's"
            ) from None

    def put(self, record: logging.LogRecord, text: str, trace: str) -> None:
        """Send an entry; one that cannot be sent goes to standard error."""
        fields = {
            "MESSAGE": f"{text}\n{trace}" if trace else text,
            "PRIORITY": str(_PRIORITIES.get(record.levelno, 6)),
            "SYSLOG_IDENTIFIER": self._identifier,
            "LOGGER": record.name,
        }
        for name, value in _fields_of(record):
            fields[f"RECONCILER_{name.upper()}"] = self.shown(value, LONGEST_MESSAGE)
        data = b"".join(_field(name, value) for name, value in fields.items())
        try:
            self._socket.send(data)
        except OSError:
            # The journal was started anew: its socket is another one.
            try:
                self._socket.connect(self._path)
                self._socket.send(data)
            except OSError:
                sys.stderr.write(f"{text}\n")

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()
        super().close()


def _fields_of(record: logging.LogRecord) -> Iterable[tuple[str, str]]:
    found: Any = getattr(record, _FIELDS, {})
    return found.items() if isinstance(found, dict) else ()


def _field(name: str, value: str) -> bytes:
    """Write a field: with its size where a line's end is in it, or what looks like one."""
    data = value.encode("utf-8", "replace")
    if b"\n" not in data:
        return b"%s=%s\n" % (name.encode(), data)
    return b"%s\n%s%s\n" % (name.encode(), len(data).to_bytes(8, "little"), data)
