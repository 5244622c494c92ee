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
from functools import partial
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


PAGES = {"list": "", "search": "?q=s7777", "timeline": "timeline", "spec": "item/team-3/s700"}


def slowest(root: Path) -> Figure:
    """Return the page that takes longest, over a file that is only read; beside it the others."""
    with served(root) as (url, cookie):
        baseline = f"{url}static/icon.svg"
        found = {
            name: in_turn(partial(get, f"{url}{path}", cookie), partial(get, baseline, cookie))
            for name, path in PAGES.items()
        }
    name = max(found, key=lambda each: found[each][0])
    beside = ", ".join(f"{each} {seconds * 1000:.0f}" for each, (seconds, _) in found.items())
    what = f"the console of {COUNT:,} specs, its slowest page: {name}"
    return Figure(what, *found[name], "<= 500 ms", beside)


MEASURES: tuple[Callable[[Path], Figure], ...] = (slowest,)
