"""AWS's STS, IAM and S3 as moto serves them, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import requests

__all__ = ["MotoServer", "moto_server"]

LIMIT_S = 60.0

ACCOUNT = "123456789012"

# It ends when nobody holds its standard input any more, however this process ends.
CODE = """\
import logging, sys
logging.getLogger("werkzeug").setLevel(logging.ERROR)
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
server.stop()
"""


@dataclass(frozen=True)
class MotoServer:
    """A running server, and clients of it as an administrator."""

    url: str

    def client(self, service: str, **credentials: str) -> Any:
        """Return boto3's client, with an administrator's credentials unless others are given."""
        given = credentials or {
            "aws_access_key_id": "administrator",
            "aws_secret_access_key": "administrator",
        }
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            **given,
        )

    def reset(self) -> None:
        """Take everything away that was made."""
        requests.post(f"{self.url}/moto-api/reset", timeout=LIMIT_S).raise_for_status()

    def check_permissions(self, *, on: bool) -> None:
        """Have it look at signatures and policies, as AWS does, or at nothing."""
        first = b"0" if on else b"inf"
        url = f"{self.url}/moto-api/reset-auth"
        requests.post(url, data=first, timeout=LIMIT_S).raise_for_status()


@contextmanager
def moto_server() -> Iterator[MotoServer]:
    """Give a running server."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", CODE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline())
        yield MotoServer(f"http://127.0.0.1:{port}")
    finally:
        process.stdin.close()
        try:
            process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
