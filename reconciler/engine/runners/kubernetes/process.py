"""A command in a pod: started once, followed over any number of connections, ended for sure."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from reconciler.engine.runners.base import Command, OnOutput
from reconciler.engine.runners.kubernetes import agent
from reconciler.engine.runners.kubernetes.answers import ApiError, UnreachableError
from reconciler.engine.runners.kubernetes.pod import Pod
from reconciler.errors import ReconcilerError

__all__ = ["PodProcess", "Said"]

_log = logging.getLogger(__name__)

# How long a command may take to begin. An exec takes 0.1 s; a node that is that busy starts
# nothing any more.
START_LIMIT_S = 120.0

# How long a kill may take by way of the container, before the pod is deleted.
KILL_LIMIT_S = 10.0

# The pauses before a lost connection is made again: the first at once, then ever slower.
PAUSES_S = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)

KILLED = 137
INPUT_BYTES = 64 * 1024

# The agent's words, which a deployment can read and change, are short.
LONGEST_LINE_BYTES = 1000
LONGEST_NUMBER = 18


@dataclass(slots=True)
class Said:
    """What the agent has said of a command: lines on standard error, the last maybe partial."""

    rest: bytes = b""
    pid: int = 0
    errno: int = 0
    code: int | None = None
    size: int = -1
    kills: int = 0

    def take(self, data: bytes) -> None:
        """Read on. What is no word of the agent's own is a shell's remark."""
        *lines, rest = (self.rest + data).split(b"\n")
        self.rest = rest[-LONGEST_LINE_BYTES:]
        for line in lines:
            word, *values = line[-LONGEST_LINE_BYTES:].split()[:4] or [b""]
            if not all(value.isdigit() and len(value) <= LONGEST_NUMBER for value in values):
                continue
            numbers = [int(value) for value in values]
            if word == b"started" and numbers:
                self.pid = numbers[0]
            elif word == b"failed" and numbers:
                self.errno = numbers[0]
            elif word == b"end" and len(numbers) == 3:  # noqa: PLR2004 - as the agent writes it
                self.code, self.size, self.kills = numbers


class PodProcess:
    """A command of a deployment. `begin` comes first."""

    def __init__(self, pod: Pod, number: int, command: Command, on_output: OnOutput) -> None:
        self._pod = pod
        self._number = str(number)
        self._name = command.argv[0]
        self._order = agent.order(number, command)
        self._on_output = on_output
        self._taken = True
        self._received = 0
        self._said = Said()
        self._begun = threading.Event()
        self._interrupts = 0
        self._lock = threading.Lock()
        self._killing = False
        self._code: int | None = None
        self._thread = threading.Thread(target=self._follow, name="pod-command", daemon=True)

    def begin(self) -> None:
        """Have it started; OSError where it cannot be."""
        self._thread.start()
        if not self._begun.wait(START_LIMIT_S):
            self.kill()
            raise TimeoutError(110, "the pod does not start programs any more", self._name)
        if self._said.errno:
            self._thread.join()
            raise FileNotFoundError(
                self._said.errno, "no such program, or not executable", self._name
            )

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Return the exit code (128 + N for signal N), or None at the time limit."""
        self._thread.join(timeout_s)
        return None if self._thread.is_alive() else self._code

    def interrupt(self) -> None:
        """Send SIGINT to the program itself, so that it can end in its own way."""
        with self._lock:
            self._interrupts += 1
            count = self._interrupts
        self._apart(lambda: self._pod.run(agent.INTERRUPT, self._number, str(count)), "interrupt")

    def kill(self) -> None:
        """End the whole tree at once. May be called at any time, more than once."""
        with self._lock:
            if self._killing:
                return
            self._killing = True
        self._apart(self._kill, "kill")

    # ------------------------------------------------------------ inside

    def _apart(self, work: object, name: str) -> None:
        """Do what asks the cluster in a thread of its own: whoever stops does not wait."""

        def run() -> None:
            try:
                work()  # type: ignore[operator]
            except ReconcilerError as error:
                _log.warning("pod %s: %s: %s", self._pod.name, name, error)

        threading.Thread(target=run, name=f"pod-{name}", daemon=True).start()

    def _kill(self) -> None:
        """Kill in the container; delete the pod where that does not end it."""
        try:
            self._pod.run(agent.KILL, self._number, limit_s=KILL_LIMIT_S)
        except ReconcilerError as error:
            _log.info("pod %s: it is deleted, since a kill in it failed: %s", self._pod.name, error)
        else:
            self._thread.join(KILL_LIMIT_S)
        if self._thread.is_alive():
            self._pod.delete()

    def _follow(self) -> None:
        """Read the output to its end, over as many connections as that takes."""
        failures = 0
        while self._code is None:
            before = (self._received, self._said.pid)
            try:
                self._read_on()
                reason = ""
            except UnreachableError as error:
                reason = str(error)
            except ApiError as error:
                reason = str(error)
            except Exception:  # noqa: BLE001 - whatever it was, the command has to be ended
                _log.exception("pod %s: its command is lost", self._pod.name)
                reason = "the engine itself failed"
            if self._said.code is not None and self._received >= self._said.size:
                self._end(self._said.code)
                break
            failures = failures + 1 if before == (self._received, self._said.pid) else 1
            if reason:
                _log.info("pod %s: %s; looking again", self._pod.name, reason)
            self._look_at_pod()
            if self._code is None:
                pause_s = PAUSES_S[min(failures, len(PAUSES_S)) - 1]
                threading.Event().wait(pause_s)
        self._begun.set()

    def _read_on(self) -> None:
        """Start the command where it has not begun, and read what there is."""
        order = b"" if self._said.pid else self._order
        arguments = (self._number, str(len(order)), str(self._received))
        running = self._pod.exec(agent.RUN, *arguments, stdin=bool(order))
        try:
            for start in range(0, len(order), INPUT_BYTES):
                running.send(order[start : start + INPUT_BYTES])
            running.receive(self._take, self._hear)
        finally:
            running.close()

    def _take(self, data: bytes) -> None:
        self._received += len(data)
        try:
            if self._taken:
                self._on_output(data)
        except Exception:  # noqa: BLE001 - whatever it is, the command must be followed
            self._taken = False
            _log.exception("a command's further output is lost")

    def _hear(self, data: bytes) -> None:
        self._said.take(data)
        if self._said.pid or self._said.errno:
            self._begun.set()

    def _look_at_pod(self) -> None:
        """End the command where its pod has: nothing of it can be left."""
        try:
            why = self._pod.why_gone()
        except ReconcilerError as error:
            _log.info("pod %s: %s", self._pod.name, error)
            return
        if why is None:
            return
        if not self._killing:
            self._take_note(f"\nthe pod of this deployment is gone: {why}\n")
        self._end(KILLED)

    def _end(self, code: int) -> None:
        if self._said.kills > self._pod.kills:
            self._pod.kills = self._said.kills
            if code >= 128:  # noqa: PLR2004 - a signal's
                self._take_note(
                    "\nthe memory of this deployment's pod was all used, and the kernel ended "
                    "some of its processes\n"
                )
        if not self._said.pid and not self._said.errno:
            self._said.errno = 4  # EINTR: it was ended before it began
        self._code = code

    def _take_note(self, text: str) -> None:
        self._take(text.encode())
