"""What the console costs over many specs: its pages, of a real `run`, over a health check's."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.bench.figures import Figure, in_turn
from tests.bench.status import COUNT, make

__all__ = ["MEASURES"]

LIMIT_S = 600.0


@contextmanager
def served(root: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Run over very many suspended specs; give the console's address and its cookie."""
    specs, data = make(root)
    # Nothing is looked up of what is suspended, so that the pages alone are measured.
    (specs / "_defaults.yaml").write_text("reconcile: {suspend: true}\n")
    log = root / "run.log"
    arguments = ["run", str(specs), "--data", str(data), "--console", "127.0.0.1:0"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "reconciler", *arguments],
            cwd=root,
            stdout=output,
            stderr=output,
            env=dict(os.environ),
        )
    try:
        end = time.monotonic() + LIMIT_S
        while (found := re.search(r"console: (\S+)", log.read_text())) is None:
            _check(process, end, log)
            time.sleep(0.1)
        cookie = {"reconciler-console": (data / "console.token").read_text().strip()}
        while f"Suspended <b>{COUNT:,}</b>" not in get(found[1], cookie):
            _check(process, end, log)
            time.sleep(0.5)
        yield found[1], cookie
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _check(process: subprocess.Popen[bytes], end: float, log: Path) -> None:
    assert process.poll() is None, log.read_text()
    assert time.monotonic() < end, log.read_text()


def get(url: str, cookie: dict[str, str]) -> str:
    return requests.get(url, cookies=cookie, timeout=60).text


def _page(path: str, what: str) -> Callable[[Path], Figure]:
    def measure(root: Path) -> Figure:
        with served(root) as (url, cookie):
            measured, baseline = in_turn(
                lambda: get(f"{url}{path}", cookie), lambda: get(f"{url}static/icon.svg", cookie)
            )
        return Figure(f"the console of {COUNT:,} specs: {what}", measured, baseline, "<= 500 ms")

    return measure


MEASURES: tuple[Callable[[Path], Figure], ...] = (
    _page("", "the first page"),
    _page("?q=s7777", "a search"),
    _page("timeline", "the timeline"),
    _page("item/team-3/s700", "a spec"),
)
