"""A Kubernetes API server of the tests' own: real, on a free port, gone when the tests are.

It is etcd and kube-apiserver alone. Nothing makes pods of jobs here or runs them: a test that
is about that makes the pod, and says in its status what a node would say.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tools.build_kubernetes import location

__all__ = [
    "LIMIT_S",
    "MEMORY",
    "KubernetesServer",
    "api_server_arguments",
    "etcd_arguments",
    "free_ports",
    "kubernetes_server",
]

# Both start within 5 s; the limit is for a machine under load.
LIMIT_S = 120.0

# What Go's collector keeps their memory below; etcd takes 60 MB here, the API server 250 MB.
MEMORY = {"etcd": "150MiB", "kube-apiserver": "400MiB"}

# Losing the machine is not what these tests are about: writes need not reach the disk.
ETCD_OPTIONS = ("--unsafe-no-fsync", "--log-level=error", "--quota-backend-bytes=100000000")


class KubernetesServer:
    """One running API server. `kubeconfig` is an administrator's."""

    def __init__(self, directory: Path) -> None:
        """Take the ports and make the keys; `start` starts it."""
        self.directory = directory
        self.etcd_port, self.etcd_peer_port, self.port = free_ports(3)
        self.token = secrets.token_hex(16)
        self._make_keys()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def authority(self) -> Path:
        """The certificate it shows, which it has made for itself."""
        return self.directory / "certificates" / "apiserver.crt"

    @property
    def kubeconfig(self) -> Path:
        """The configuration of an administrator."""
        return self.directory / "kubeconfig"

    def write_kubeconfig(self, path: Path, token: str, namespace: str = "default") -> Path:
        """Write a configuration for whoever has this token."""
        authority = base64.b64encode(self.authority.read_bytes()).decode()
        cluster = {"server": self.url, "certificate-authority-data": authority}
        context = {"cluster": "tests", "user": "user", "namespace": namespace}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": cluster}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "tests", "context": context}],
            "current-context": "tests",
        }
        path.touch(0o600)
        path.write_text(yaml.safe_dump(content))
        return path

    def call(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        """Call the API as an administrator; HTTPError where it refuses."""
        content = {"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"}
        request = urllib.request.Request(  # noqa: S310 - its own URL
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers=content | headers,
        )
        trust = ssl.create_default_context(cafile=str(self.authority))
        with urllib.request.urlopen(request, timeout=LIMIT_S, context=trust) as answer:  # noqa: S310
            return json.load(answer)

    def apply(self, *objects: dict[str, Any]) -> None:
        """Make objects of manifests."""
        for made in objects:
            version, kind = made["apiVersion"], made["kind"]
            base = f"/api/{version}" if "/" not in version else f"/apis/{version}"
            namespace = made["metadata"].get("namespace")
            where = f"/namespaces/{namespace}" if namespace else ""
            self.call("POST", f"{base}{where}/{kind.lower()}s", made)

    def namespace(self, prefix: str = "test") -> str:
        """Make a namespace for one test, with the account that pods have by default."""
        name = f"{prefix}-{secrets.token_hex(4)}"
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        path = f"/api/v1/namespaces/{name}/serviceaccounts"
        with contextlib.suppress(urllib.error.HTTPError):  # the controller was quicker
            self.call("POST", path, {"metadata": {"name": "default"}})
        return name

    def account_token(self, namespace: str, account: str) -> str:
        """Return a token of a service account."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        answer = self.call("POST", path, {"spec": {"expirationSeconds": 3600}})
        return str(answer["status"]["token"])

    def start(self) -> list[subprocess.Popen[bytes]]:
        """Start both programs, and wait until they answer."""
        etcd = self._run("etcd", *etcd_arguments(self))
        server = self._run("kube-apiserver", *api_server_arguments(self))
        self.wait_until_ready((etcd, server))
        return [server, etcd]

    def wait_until_ready(self, processes: tuple[subprocess.Popen[bytes], ...]) -> None:
        """Wait until it answers, and write the administrator's configuration."""
        end = time.monotonic() + LIMIT_S
        pause = threading.Event()
        while True:
            with contextlib.suppress(OSError, ssl.SSLError):
                self.call("GET", "/api/v1/namespaces/default")
                break
            assert all(process.poll() is None for process in processes), self.log()
            assert time.monotonic() < end, self.log()
            pause.wait(0.05)
        self.write_kubeconfig(self.kubeconfig, self.token)

    def log(self) -> str:
        """Return the end of what its programs wrote."""
        texts = [path.read_text(errors="replace")[-3000:] for path in self.directory.glob("*.log")]
        return "\n".join(texts)

    def _make_keys(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        path = self.directory / "accounts.key"
        path.touch(0o600)
        path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
        tokens = self.directory / "tokens.csv"
        tokens.touch(0o600)
        tokens.write_text(f'{self.token},administrator,1,"system:masters"\n')

    def _run(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        program = location(name)
        assert program.exists(), f"{program} is not built: `make cluster` builds it"
        with (self.directory / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                # It ends with this process, however that ends.
                ["setpriv", "--pdeathsig", "KILL", "--", str(program), *arguments],
                env={"PATH": os.environ["PATH"], "GOMEMLIMIT": MEMORY[name]},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
            )


def etcd_arguments(server: KubernetesServer) -> tuple[str, ...]:
    """Return how etcd is started."""
    client = f"http://127.0.0.1:{server.etcd_port}"
    peer = f"http://127.0.0.1:{server.etcd_peer_port}"
    return (
        f"--data-dir={server.directory / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        *ETCD_OPTIONS,
    )


def api_server_arguments(server: KubernetesServer) -> tuple[str, ...]:
    """Return how the API server is started."""
    key = server.directory / "accounts.key"
    return (
        f"--etcd-servers=http://127.0.0.1:{server.etcd_port}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={server.port}",
        f"--cert-dir={server.directory / 'certificates'}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        "--authorization-mode=RBAC",
        f"--token-auth-file={server.directory / 'tokens.csv'}",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--endpoint-reconciler-type=none",
        "--disable-admission-plugins=TaintNodesByCondition",
        "--allow-privileged=false",
    )


@contextmanager
def kubernetes_server() -> Iterator[KubernetesServer]:
    """Give a running API server, and take it and its files away afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="kubernetes-"))
    processes: list[subprocess.Popen[bytes]] = []
    try:
        server = KubernetesServer(directory)
        processes = server.start()
        yield server
    finally:
        for process in processes:  # the server before what it stores in
            process.kill()
            process.wait()
        shutil.rmtree(directory)


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for taken in sockets:
            taken.bind(("127.0.0.1", 0))
        return [int(taken.getsockname()[1]) for taken in sockets]


if __name__ == "__main__":
    with kubernetes_server() as running:
        print(running.kubeconfig, flush=True)  # noqa: T201 - for a person who looks around
        sys.stdin.read()
