"""One call of git: bounded in time and output, with nothing of this host but its proxy."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess  # noqa: TID251 - this is where git is started
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Final

__all__ = ["GitFailedError", "ask", "list_refs"]

# A repository that is asked over a slow line answers in a few; one that hangs must not hold a pass.
TIMEOUT_S: Final = 30
# Ten thousand refs, of which we ask for a few.
MAX_OUTPUT_BYTES: Final = 1 << 20
# What of the daemon's environment reaches git: how to find it, and how to reach the network.
_KEPT: Final = (
    "PATH", "http_proxy", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "ALL_PROXY",
    "all_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "TMPDIR", "LD_LIBRARY_PATH",
)  # fmt: skip
_REF_LINE: Final = re.compile(r"([0-9a-f]{40,64})\t(\S+)\Z")
_NOISE: Final = re.compile(r"^(?:fatal|error|remote|warning): ", re.MULTILINE)


class GitFailedError(Exception):
    """git did not answer; the message is its own last words, on one line."""


def list_refs(
    url: str, names: Iterable[str], settings: Iterable[tuple[str, str]]
) -> Mapping[str, str]:
    """Return ref → commit for those of `names` that a repository has.

    `settings` are git's configuration for this call. Raises GitFailedError.
    """
    wanted = set(names)
    patterns = sorted({name.removesuffix("^{}") for name in wanted})
    # `^{}` is listed with the tag that it peels only where the pattern ends in `*`, or is exact.
    peeled = sorted(name for name in wanted if name.endswith("^{}"))
    argv = ["git", "ls-remote", "--quiet", "--", url, *patterns, *peeled]
    output = _run(argv, _environment(settings))
    found: dict[str, str] = {}
    for line in output.splitlines():
        match = _REF_LINE.match(line)
        if match and match[2] in wanted:  # a pattern also matches refs that only end so
            found[match[2]] = match[1]
    return found


def ask(folder: Path, arguments: Iterable[str]) -> str:
    """Return what git says of the repository that holds a folder; raises GitFailedError."""
    return _run(["git", "-C", str(folder.absolute()), *arguments], _environment(()))


def _environment(settings: Iterable[tuple[str, str]]) -> dict[str, str]:
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    environment |= {
        "GIT_ALLOW_PROTOCOL": "https:http:file",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "HOME": "/nonexistent",
        "LC_ALL": "C",
    }
    pairs = list(settings)
    environment["GIT_CONFIG_COUNT"] = str(len(pairs))
    for index, (key, value) in enumerate(pairs):
        environment[f"GIT_CONFIG_KEY_{index}"] = key
        environment[f"GIT_CONFIG_VALUE_{index}"] = value
    return environment


def _run(argv: list[str], environment: Mapping[str, str]) -> str:
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise GitFailedError(f"git cannot be started: {error.strerror}") from error
    too_late = threading.Event()

    def stop() -> None:
        too_late.set()
        _kill(process)

    timer = threading.Timer(TIMEOUT_S, stop)
    timer.start()
    try:
        with process:
            output, errors, whole = _drain(process)
            if not whole:
                _kill(process)
    finally:
        timer.cancel()
    if too_late.is_set():
        raise GitFailedError(f"no answer within {TIMEOUT_S} s")
    if not whole:
        raise GitFailedError(f"it lists more than {MAX_OUTPUT_BYTES} bytes of refs")
    if process.returncode != 0:
        raise GitFailedError(_last_words(errors))
    return output.decode("utf-8", "replace")


def _drain(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes, bool]:
    """Read both outputs to their ends, or until one is too long (then the last is False)."""
    outputs: dict[IO[bytes], bytearray] = {}
    with selectors.DefaultSelector() as selector:
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                outputs[stream] = bytearray()
                selector.register(stream, selectors.EVENT_READ)
        whole = True
        while selector.get_map() and whole:
            for key, _ in selector.select():
                stream = next(each for each in outputs if each is key.fileobj)
                chunk = os.read(stream.fileno(), 1 << 16)
                if not chunk:
                    selector.unregister(stream)
                outputs[stream] += chunk
                whole = whole and len(outputs[stream]) <= MAX_OUTPUT_BYTES
    output, errors = outputs.values()
    return bytes(output), bytes(errors), whole


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End git and what it started: they are a session of their own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _last_words(errors: bytes) -> str:
    text = _NOISE.sub("", errors.decode("utf-8", "replace")).strip()
    words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return words or "git failed without a word"
