"""A registry of images that asks for a user name and password: the pull part of OCI's API.

https://github.com/opencontainers/distribution-spec, over plain http on loopback.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

__all__ = ["PASSWORD", "USER", "Registry", "registry"]

USER = "puller"
PASSWORD = "canary-of-the-registry"

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"

# Enough for an image that a deployment accepts, and that tells where it is from.
_SCRIPTS = {"pulumi": "echo v3.0.0-fetched", "curl": "exit 7"}
_APPLETS = ("sh", "cat", "env", "echo", "sleep", "ls")


class Registry:
    """One image, `private/tools:1`, and what was asked for it."""

    def __init__(self, port: int) -> None:
        self.name = f"127.0.0.1:{port}/private/tools:1"
        self.authorizations: list[str] = []
        self.slow = threading.Event()
        self.blobs: dict[str, bytes] = {}
        layer = _layer()
        packed = gzip.compress(layer, mtime=0)
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": self._blob("config.v1+json", json.dumps(config).encode()),
            "layers": [self._blob("layer.v1.tar+gzip", packed)],
        }
        self.manifest = json.dumps(manifest).encode()

    def _blob(self, kind: str, content: bytes) -> dict[str, object]:
        digest = _digest(content)
        self.blobs[digest] = content
        media = f"application/vnd.oci.image.{kind}"
        return {"mediaType": media, "digest": digest, "size": len(content)}


@contextmanager
def registry() -> Iterator[Registry]:
    """Serve one."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    _Handler.registry = Registry(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield _Handler.registry
    finally:
        _Handler.registry.slow.clear()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    registry: Registry
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        given = self.headers.get("Authorization", "")
        self.registry.authorizations.append(given)
        wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if given != wanted:
            self._answer(401, b"{}", {"WWW-Authenticate": 'Basic realm="tests"'})
        elif self.path == "/v2/":
            self._answer(200, b"{}", {})
        elif "/manifests/" in self.path:
            digest = _digest(self.registry.manifest)
            headers = {"Content-Type": _MANIFEST, "Docker-Content-Digest": digest}
            self._answer(200, self.registry.manifest, headers)
        else:
            while self.registry.slow.is_set():
                threading.Event().wait(0.05)
            blob = self.registry.blobs.get(self.path.rpartition("/")[2])
            self._answer(200 if blob else 404, blob or b"{}", {})

    do_HEAD = do_GET  # noqa: N815 - the library's name

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        try:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)
        except OSError:
            self.close_connection = True  # a pull that was ended

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


def _layer() -> bytes:
    """Return a file system with busybox, as a tar."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for folder in ("bin", "usr", "tmp", "run", "proc", "sys", "dev", "etc"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        links = {f"bin/{name}": "/bin/busybox" for name in _APPLETS} | {"usr/bin": "/bin"}
        for name, to in links.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, to
            tar.addfile(entry)
        contents = {name: f"#!/bin/sh\n{text}\n".encode() for name, text in _SCRIPTS.items()}
        contents["busybox"] = Path("/bin/busybox").read_bytes()
        for name, content in contents.items():
            entry = tarfile.TarInfo(f"bin/{name}")
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
    return whole.getvalue()


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()
