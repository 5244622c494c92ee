"""An engine as people start it: by the command line, in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.engine.harness import LIMIT_S, Api

__all__ = ["Served", "command", "served"]


@dataclass(frozen=True)
class Served:
    """A running engine; `process` may be killed. `metrics` is where they are, with `--metrics`."""

    data: Path
    url: str
    process: subprocess.Popen[str]
    metrics: str = ""

    def api(self, organization: str = "acme") -> Api:
        """Return a caller with a new token."""
        token = command("token", "create", "--organization", organization, data=self.data)
        return Api(self.url, token.strip())


def command(*arguments: str, data: Path, code: int = 0) -> str:
    """Run `reconciler engine …`, and return what it printed."""
    ended = subprocess.run(
        [sys.executable, "-m", "reconciler", "engine", *arguments, "--data", str(data)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert ended.returncode == code, (ended.returncode, ended.stdout, ended.stderr)
    return ended.stdout if code == 0 else ended.stderr


@contextmanager
def served(
    data: Path, *options: str, environment: Mapping[str, str] | None = None, public: bool = False
) -> Iterator[Served]:
    """Serve from `data`; with `public`, its own address on loopback is its public one.

    At the end what it wrote to standard error is in `engine.err` beside `data`.
    """
    port = _free_port() if public else 0
    address = ["--public-url", f"http://127.0.0.1:{port}"]
    more = [*address, "--local-repositories"] if public else []
    with data.with_name(f"{data.name}.err").open("ab") as errors:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "reconciler", "engine", "serve"),
                *("--listen", f"127.0.0.1:{port}", "--data", str(data), *more, *options),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **(environment or {})},
        )
    assert process.stdout is not None
    try:
        line, metrics = process.stdout.readline(), ""
        if line.startswith("metrics are at "):
            metrics, line = line.split()[-1], process.stdout.readline()
        assert line.startswith("listening on http://"), data.with_name(
            f"{data.name}.err"
        ).read_text()
        yield Served(data, line.removeprefix("listening on ").strip(), process, metrics)
    finally:
        process.terminate()
        try:
            process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
