"""A GET of a deployment, over a bare hello of the same server library on the same machine."""

from __future__ import annotations

import multiprocessing
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import requests

from reconciler.api.types import StackRef
from tests.bench.engines import make_repository, request_for, serving
from tests.bench.figures import Figure, percentile

__all__ = ["MEASURES"]

STACK = StackRef("acme", "bench", "dev")
CALLERS, CALLS = 4, 400
HELLO = """
import sys, uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
async def hello(_): return JSONResponse({"hello": "world"})
uvicorn.run(Starlette(routes=[Route("/", hello)]), port=int(sys.argv[1]), log_level="error",
            access_log=False)
"""


def call(url: str, token: str) -> list[float]:
    session = requests.Session()
    session.headers["Authorization"] = f"token {token}"
    took = []
    for _ in range(CALLS):
        started = time.perf_counter()
        assert session.get(url, timeout=30).status_code == 200
        took.append(time.perf_counter() - started)
    return took


def load(url: str, token: str) -> tuple[float, float]:
    """Return the seconds a call takes of the server's time, and the slowest of a hundred."""
    with multiprocessing.Pool(CALLERS) as pool:
        started = time.perf_counter()
        took = pool.starmap(call, [(url, token)] * CALLERS)
        lasted = time.perf_counter() - started
    return lasted / (CALLERS * CALLS), percentile([t for each in took for t in each], 0.99)


def gets(root: Path) -> Figure:
    source = make_repository(root / "repository", "name: bench\nruntime: yaml\n")
    with serving(root / "engine", "--workers", "1") as engine:
        made = engine.client.create(STACK, request_for(source))
        url = f"{engine.url}/api/stacks/{STACK}/deployments/{made.id}"
        while not getattr(engine.client.get(STACK, made.id), "jobs", ()):
            time.sleep(0.05)
        ours, slowest = load(url, engine.token)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-c", HELLO, str(port)])
    try:
        end = time.monotonic() + 30
        while True:
            try:
                requests.get(f"http://127.0.0.1:{port}/", timeout=5)
                break
            except requests.ConnectionError:
                assert time.monotonic() < end
                time.sleep(0.05)
        hello, _ = load(f"http://127.0.0.1:{port}/", "")
    finally:
        server.terminate()
        server.wait()
    beside = f"{hello / ours:.2f} of its rate; p99 {slowest * 1000:.0f} ms"
    return Figure("GET of a deployment, over a bare hello", ours, hello, "<= 3.3", beside)


MEASURES: tuple[Callable[[Path], Figure], ...] = (gets,)
