"""One run of a program that is not ours: bounded in time and output, its whole session ended."""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import signal
import subprocess  # noqa: TID251 - this is where git, and a host's commands for secrets, are started
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, NamedTuple

__all__ = ["Bounds", "Ended", "end_session", "exchange", "run_bounded"]


class Bounds(NamedTuple):
    """How long a program may take, and how much it may write to each of its outputs."""

    timeout_s: float
    output_bytes: int


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended, and what it wrote; neither output is shown by `repr`."""

    code: int
    output: bytes
    errors: bytes
    too_late: bool = False
    too_long: bool = False

    def __repr__(self) -> str:
        return f"Ended({self.code}, {len(self.output)} bytes)"


def run_bounded(
    argv: Sequence[str], environment: Mapping[str, str], bounds: Bounds, content: bytes = b""
) -> Ended:
    """Run a program in `/` with `content` as its input; OSError where it cannot be started.

    What it started is killed with it when it is too late or too long.
    """
    process = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE if content else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
        env=environment,
        start_new_session=True,
    )
    too_late = threading.Event()

    def stop() -> None:
        too_late.set()
        end_session(process)

    timer = threading.Timer(bounds.timeout_s, stop)
    timer.start()
    try:
        with process:
            output, errors, whole = exchange(process, content, bounds.output_bytes)
            if not whole:
                end_session(process)
    finally:
        timer.cancel()
    return Ended(process.returncode, output, errors, too_late.is_set(), not whole)


def exchange(
    process: subprocess.Popen[bytes], content: bytes, limit: int
) -> tuple[bytes, bytes, bool]:
    """Write the input and read both outputs to their ends, or until one is longer than `limit`.

    The last of what is returned is False then.
    """
    outputs: dict[IO[bytes], bytearray] = {}
    with selectors.DefaultSelector() as selector:
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                outputs[stream] = bytearray()
                selector.register(stream, selectors.EVENT_READ)
        if process.stdin is not None:
            selector.register(process.stdin, selectors.EVENT_WRITE)
        left = memoryview(content)
        whole = True
        while selector.get_map() and whole:
            for key, _ in selector.select():
                if key.fileobj is process.stdin:
                    left = _write(process, left)
                    if not left:
                        selector.unregister(key.fileobj)
                    continue
                stream = next(each for each in outputs if each is key.fileobj)
                chunk = os.read(stream.fileno(), 1 << 16)
                if not chunk:
                    selector.unregister(stream)
                outputs[stream] += chunk
                whole = whole and len(outputs[stream]) <= limit
    output, errors = outputs.values()
    return bytes(output), bytes(errors), whole


def _write(process: subprocess.Popen[bytes], left: memoryview) -> memoryview:
    """Write some of the input, and close it behind the last of it."""
    assert process.stdin is not None  # noqa: S101 - it is only called with one
    try:
        # No more than a pipe takes at once: what it writes must be read meanwhile.
        left = left[os.write(process.stdin.fileno(), left[: select.PIPE_BUF]) :]
    except BrokenPipeError:  # it does not want to know
        left = left[len(left) :]
    if not left:
        process.stdin.close()
    return left


def end_session(process: subprocess.Popen[bytes], number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to the program and what it started: they are a session of their own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
