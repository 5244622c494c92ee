"""Asks once which addresses a host's name stands for, so that nobody has to ask again."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

__all__ = ["addresses"]

# A resolver tries for up to 30 s by its usual settings; a step can be stopped meanwhile.
LIMIT_S = 40.0
LOOK_EVERY_S = 0.05


def addresses(host: str, port: int, pause: Callable[[], None]) -> tuple[str, ...]:
    """Return the addresses of a name, the best first; empty where there are none.

    `pause` waits for a moment and raises where the step is to end.
    """
    found: list[tuple[str, ...]] = []
    thread = threading.Thread(
        target=lambda: found.append(_ask(host, port)), name="lookup", daemon=True
    )
    thread.start()
    waited = 0.0
    while thread.is_alive() and waited < LIMIT_S:
        thread.join(LOOK_EVERY_S)
        waited += LOOK_EVERY_S
        if thread.is_alive():
            pause()
    return found[0] if found else ()


def _ask(host: str, port: int) -> tuple[str, ...]:
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(str(answer[4][0]) for answer in answers))
