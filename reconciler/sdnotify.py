"""Tells systemd how this process is: ready, alive, ending, and in a line what it does.

The protocol is one datagram a message (sd_notify(3)). Without NOTIFY_SOCKET nobody is told, and
a message that does not arrive is no error: nothing here may hold up or end the work itself.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import socket
import time
from collections.abc import Callable, MutableMapping
from typing import Final

__all__ = ["ServiceManager"]

_log = logging.getLogger(__name__)

# systemd wants to hear at least every interval; a loaded machine may make us late by half of it.
BEATS_PER_INTERVAL: Final = 4

# `systemctl status` shows a line.
LONGEST_STATUS: Final = 200

_MICROSECONDS: Final = 1_000_000


class ServiceManager:
    """The one that started this process, where that wants to be told. May be used by any thread.

    `interval_s` is how often it wants to hear that we are alive; 0 is never.
    """

    def __init__(
        self, address: str, interval_s: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.interval_s = interval_s if address else 0.0
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._monotonic = monotonic
        self._told_s: float | None = None
        self._status = ""

    @classmethod
    def of(cls, environ: MutableMapping[str, str]) -> ServiceManager:
        """Return the one that the environment names, and take it out of there.

        What this process starts is not to speak in its name. A watchdog that is meant for another
        process (WATCHDOG_PID) is none of ours.
        """
        address = environ.pop("NOTIFY_SOCKET", "")
        interval = environ.pop("WATCHDOG_USEC", "")
        process = environ.pop("WATCHDOG_PID", "")
        ours = process in {"", str(os.getpid())} and interval.isascii() and interval.isdigit()
        manager = cls(address, int(interval[:18]) / _MICROSECONDS if ours else 0.0)
        if manager.interval_s:
            # systemd ends a process that hangs by SIGABRT: then the log says where it hung.
            faulthandler.enable()
        return manager

    @property
    def beat_s(self) -> float:
        """How often to say that we are alive, in seconds; 0 is never."""
        return self.interval_s / BEATS_PER_INTERVAL

    def ready(self) -> None:
        """Say that the start is over, and the work has begun."""
        self._send("READY=1")

    def stopping(self) -> None:
        """Say that the end has begun."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Say in a line what is done; the same line is said once."""
        line = "".join(c if c.isprintable() else " " for c in text)[:LONGEST_STATUS]
        if line != self._status:
            self._status = line
            self._send(f"STATUS={line}")

    def alive(self) -> None:
        """Say that the work goes on; more often than that is asked for, nothing is sent."""
        if not self.interval_s:
            return
        now_s = self._monotonic()
        if self._told_s is None or now_s - self._told_s >= self.beat_s:
            self._told_s = now_s
            self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(0)
                sender.sendto(message.encode(), self._address)
        except OSError as error:
            _log.info("systemd was not told %s: %s", message.partition("=")[0], error)
