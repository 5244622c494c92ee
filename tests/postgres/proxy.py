"""A network between a worker and its database, which can fall silent without a word."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self

__all__ = ["Network"]


class Network:
    """Passes connections on to a port of this machine, from one of its own."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._silent = False
        self._near: list[socket.socket] = []
        self._far: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        for end in (*self._near, *self._far):
            _drop(end)
        for thread in self._threads:
            thread.join()

    def fall_silent(self) -> None:
        """Pass nothing on. The far side sees its connections gone; the near side sees nothing."""
        with self._lock:
            self._silent = True
            far, self._far = self._far, []
        for end in far:
            _drop(end)

    def come_back(self) -> None:
        """Pass new connections on again."""
        with self._lock:
            self._silent = False

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._near.append(near)
                if self._silent:
                    continue
                far = socket.create_connection(("127.0.0.1", self._target))
                self._far.append(far)
            for pair in ((near, far), (far, near)):
                thread = threading.Thread(target=self._pump, args=pair)
                self._threads.append(thread)
                thread.start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                with self._lock:
                    silent = self._silent
                if not silent:
                    sink.sendall(data)
        with self._lock:
            silent = self._silent
        if not silent:
            _drop(sink)


def _drop(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
