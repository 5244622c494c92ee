"""A whole Kubernetes of one node for tests that run pods: kubelet and containerd included.

It needs root, and the programs of `python -m tools.build_kubernetes --cluster`. All of it lives
in one PID and mount namespace: when its first process is killed, or this one, no process and
no mount is left.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import yaml

from reconciler.pulumi_cli import PulumiCli, find
from tests.kubernetes_server import (
    LIMIT_S,
    MEMORY,
    KubernetesServer,
    api_server_arguments,
    etcd_arguments,
    free_ports,
)
from tools.build_kubernetes import CLUSTER, location

__all__ = ["BUSYBOX_IMAGE", "HOST_IMAGE", "Cluster", "kubernetes_cluster"]

BUSYBOX_IMAGE = "localhost/busybox:1"
HOST_IMAGE = "localhost/host:1"
PAUSE_IMAGE = "localhost/pause:1"

# What the image with Debian's programs has: a shell, what the runner needs, Python, and what
# pulumi's language hosts call. They are the files of the packages that this host has.
PACKAGES = (
    "base-files base-passwd bash bsdutils ca-certificates coreutils dash debianutils findutils "
    "gawk git grep libacl1 libattr1 libbz2-1.0 libc6 libc-bin libcrypt1 libcurl3-gnutls libdb5.3 "
    "libexpat1 libffi8 libgcc-s1 libgmp10 libgpm2 liblzma5 libmd0 libncursesw6 libpcre2-8-0 "
    "libproc2-0 libpython3.11-minimal libpython3.11-stdlib libreadline8 libselinux1 libsqlite3-0 "
    "libssl3 libstdc++6 libsystemd0 libcap2 libgcrypt20 libgpg-error0 liblz4-1 libzstd1 libtinfo6 "
    "libtirpc3 libnsl2 libuuid1 media-types netbase openssl procps python3 python3-minimal "
    "python3.11 python3.11-minimal readline-common sed tar util-linux zlib1g"
)

CONTAINERD = """\
version = 2
root = "{here}/containerd"
state = "{here}/containerd-state"
oom_score = 0
[grpc]
address = "{here}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
restrict_oom_score_adj = true
sandbox_image = "localhost/pause:1"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{here}/cni"
"""

# A pair of interfaces a pod: they go with the pod's namespace, and nothing is left on the host.
NETWORK = {
    "cniVersion": "0.4.0",
    "name": "pods",
    "plugins": [
        {
            "type": "ptp",
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.87.0.0/24"}]]},
        }
    ],
}

KUBELET = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "address": "127.0.0.1",
    "readOnlyPort": 0,
    "healthzPort": 0,
    "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
    "authorization": {"mode": "AlwaysAllow"},
    "failCgroupV1": False,
    "failSwapOn": False,
    "cgroupDriver": "cgroupfs",
    "cgroupsPerQOS": False,
    "enforceNodeAllocatable": [],
    "localStorageCapacityIsolation": False,
    "evictionHard": {"memory.available": "1Mi"},
    "oomScoreAdj": 0,
    "syncFrequency": "2s",
}

# The first process of the box. Each program is started when the one it needs answers.
START = """\
set -eu
mount --make-rshared /
cd "$1"
start() { name=$1; shift; "$@" >>"$name.log" 2>&1 </dev/null & }
start etcd @etcd@
start kube-apiserver @kube-apiserver@
until [ -e kubeconfig.ready ]; do sleep 0.05; done
start containerd containerd --config containerd.toml
start kube-controller-manager @kube-controller-manager@
start kube-scheduler @kube-scheduler@
until ctr --address containerd.sock version >/dev/null 2>&1; do sleep 0.05; done
for image in images/*.tar; do
    ctr --address containerd.sock --namespace k8s.io images import "$image" >>images.log 2>&1
done
start kubelet @kubelet@
wait
"""


class Cluster(KubernetesServer):
    """A running cluster; `server` is its API server."""

    def __init__(self, directory: Path) -> None:
        """Write all configurations."""
        super().__init__(directory)
        self.etcd_port, self.etcd_peer_port, self.port, self.kubelet_port = free_ports(4)
        (directory / "containerd.toml").write_text(CONTAINERD.format(here=directory))
        (directory / "cni").mkdir()
        (directory / "cni" / "pods.conflist").write_text(json.dumps(NETWORK))
        socket = {"containerRuntimeEndpoint": f"unix://{directory}/containerd.sock"}
        configuration = KUBELET | socket | {"port": self.kubelet_port}
        (directory / "kubelet.yaml").write_text(yaml.safe_dump(configuration))
        (directory / "images").mkdir()
        _write_images(directory / "images")

    def start_box(self) -> subprocess.Popen[bytes]:
        """Start everything, and wait until the node can take pods."""
        script = START
        for name, arguments in self._arguments().items():
            limit = f"GOMEMLIMIT={MEMORY.get(name, '200MiB')}"
            words = " ".join(("env", limit, str(location(name)), *arguments))
            script = script.replace(f"@{name}@", words)
        (self.directory / "start").write_text(script)
        box = ["unshare", "--pid", "--fork", "--mount-proc", "--mount", "--kill-child"]
        with (self.directory / "start.log").open("ab") as log:
            running = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *box, "bash", "start", str(self.directory)],
                env={"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "HOME": str(self.directory)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,
            )
        try:
            self.wait_until_ready((running,))
            (self.directory / "kubeconfig.ready").touch()
            self._wait_for_node(running)
        except BaseException:
            running.kill()
            running.wait()
            raise
        return running

    def _arguments(self) -> dict[str, tuple[str, ...]]:
        here = self.directory
        own = (f"--kubeconfig={here}/kubeconfig", "--leader-elect=false", "--secure-port=0")
        return {
            "etcd": etcd_arguments(self),
            "kube-apiserver": api_server_arguments(self),
            "kube-controller-manager": (
                *own,
                f"--service-account-private-key-file={here}/accounts.key",
                f"--root-ca-file={self.authority}",
                f"--cert-dir={here}/certificates",
            ),
            "kube-scheduler": (*own, f"--cert-dir={here}/certificates"),
            "kubelet": (
                f"--kubeconfig={here}/kubeconfig",
                f"--config={here}/kubelet.yaml",
                f"--root-dir={here}/kubelet",
                f"--cert-dir={here}/kubelet-certificates",
                "--hostname-override=localhost",
            ),
        }

    def _wait_for_node(self, running: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + LIMIT_S
        pause = threading.Event()
        while not self._node_is_ready():
            assert running.poll() is None, self.log()
            assert time.monotonic() < end, self.log()
            pause.wait(0.1)

    def _node_is_ready(self) -> bool:
        nodes = self.call("GET", "/api/v1/nodes")["items"]
        conditions = [c for node in nodes for c in node["status"].get("conditions", ())]
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


@contextmanager
def kubernetes_cluster() -> Iterator[Cluster]:
    """Give a running cluster, and take all of it away afterwards."""
    assert os.geteuid() == 0, "a node needs root"
    missing = [name for name in CLUSTER if not location(name).exists()]
    assert not missing, f"not built: {missing}; do `python -m tools.build_kubernetes --cluster`"
    groups = set(_control_groups())
    directory = Path(tempfile.mkdtemp(prefix="cluster-"))
    try:
        cluster = Cluster(directory)
        box = cluster.start_box()
        try:
            yield cluster
        finally:
            box.kill()
            box.wait()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        _remove_groups(groups)


def _control_groups() -> Iterator[Path]:
    """Yield the control groups that the container runtime makes for pods."""
    for pattern in ("k8s.io", "*/k8s.io", "kubepods", "*/kubepods"):
        for top in Path("/sys/fs/cgroup").glob(pattern):
            yield from (path for path in (top, *top.rglob("*")) if path.is_dir())


def _remove_groups(before: set[Path]) -> None:
    """Remove the control groups that a killed runtime could not."""
    end = time.monotonic() + 10
    pause = threading.Event()
    while (made := set(_control_groups()) - before) and time.monotonic() < end:
        for group in sorted(made, key=lambda path: -len(path.parts)):
            with contextlib.suppress(OSError):
                group.rmdir()
        pause.wait(0.05)


# ---------------------------------------------------------------- images


def _write_images(directory: Path) -> None:
    busybox = Path(shutil.which("busybox") or "/bin/busybox")
    names = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True)
    with Image(directory / "busybox.tar", BUSYBOX_IMAGE) as image:
        image.folders("bin", "etc", "proc", "sys", "tmp", "root", "run", "var", "usr/bin")
        image.file(busybox, "bin/busybox")
        for name in names.stdout.split():
            image.link(f"bin/{name}", "busybox")
        image.text("bin/pulumi", "#!/bin/sh\necho v3.0.0\n")
    with Image(directory / "pause.tar", PAUSE_IMAGE, ("/bin/busybox", "sleep", "2147483")) as image:
        image.folders("bin", "etc", "proc", "sys")
        image.file(busybox, "bin/busybox")
    with Image(directory / "host.tar", HOST_IMAGE) as image:
        image.folders("dev", "proc", "sys", "run", "root", "mnt", "opt", "var/tmp", "usr/local/bin")
        for folder in ("bin", "sbin", "lib", "lib64"):
            if Path("/", folder).is_symlink():
                image.link(folder, f"usr/{folder}")
        for path in _files_of_packages():
            image.any(path)
        image.any(Path("/etc/ssl/certs"))
        for name in ("passwd", "group"):  # as a new Debian has them
            image.file(Path("/usr/share/base-passwd", f"{name}.master"), f"etc/{name}")
        # The tests start their own Python, by the path it has here.
        image.folders(str(Path(sys.executable).parent).lstrip("/"))
        image.link(sys.executable.lstrip("/"), "/usr/bin/python3")
        image.folders("tmp", mode=0o1777)
        _add_pulumi(image)


def _add_pulumi(image: Image) -> None:
    found = find()
    assert isinstance(found, PulumiCli), found
    for path in found.directory.glob("pulumi*"):
        image.file(path, f"usr/local/bin/{path.name}")


def _files_of_packages() -> Iterator[Path]:
    """Yield the files of the packages, where this host has them, with their links' targets."""
    listed = subprocess.run(
        ["dpkg", "-L", *PACKAGES.split()], check=False, capture_output=True, text=True
    ).stdout.splitlines()
    seen = set()
    for line in listed:
        path = Path(line)
        if not line.startswith("/") or path in seen or "/share/doc" in line or "/man/" in line:
            continue
        seen.add(path)
        # What lies in /lib of a package is in /usr/lib, where that is one directory.
        real = path.parent.resolve() / path.name
        if real.is_symlink() or real.is_file():
            yield real
    for name in ("awk", "which", "pager"):  # by Debian's alternatives
        link = Path("/etc/alternatives", name)
        if link.is_symlink():
            yield link
            yield Path("/usr/bin", name)


class Image:
    """Writes one image as `docker save` does: one layer, its configuration, and a manifest."""

    def __init__(self, path: Path, name: str, command: Iterable[str] = ("/bin/sh",)) -> None:
        self._path = path
        self._name = name
        self._command = list(command)
        self._layer_path = path.with_suffix(".layer")
        self._layer = tarfile.open(self._layer_path, "w")  # noqa: SIM115 - closed by __exit__
        self._there: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._layer.close()
        if kind is None:
            self._write()
        self._layer_path.unlink()

    def folders(self, *names: str, mode: int = 0o755) -> None:
        """Make directories, with those above them."""
        for name in names:
            for folder in (*reversed(Path(name).parents[:-1]), Path(name)):
                if self._new(str(folder)):
                    info = tarfile.TarInfo(str(folder))
                    info.type, info.mode = tarfile.DIRTYPE, mode
                    self._layer.addfile(info)

    def file(self, source: Path, name: str) -> None:
        """Copy a file in."""
        self.folders(str(Path(name).parent))
        if self._new(name):
            self._layer.add(source, name, filter=_of_root)

    def link(self, name: str, target: str) -> None:
        """Make a symbolic link."""
        if self._new(name):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            self._layer.addfile(info)

    def text(self, name: str, content: str) -> None:
        """Make a script."""
        if self._new(name):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o755
            self._layer.addfile(info, io.BytesIO(content.encode()))

    def any(self, path: Path) -> None:
        """Copy what is at this path of the host, with all below it, to the same path."""
        name = str(path).lstrip("/")
        self.folders(str(Path(name).parent))
        if self._new(name):
            self._layer.add(path, name, filter=_of_root)

    def _new(self, name: str) -> bool:
        if name in self._there or name == ".":
            return False
        self._there.add(name)
        return True

    def _write(self) -> None:
        with self._layer_path.open("rb") as layer:
            digest = hashlib.file_digest(layer, "sha256").hexdigest()
        settings = {"Cmd": self._command, "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]}
        configuration = {
            "architecture": _architecture(),
            "os": "linux",
            "config": settings,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
        manifest = [{"Config": "config.json", "RepoTags": [self._name], "Layers": ["layer.tar"]}]
        with tarfile.open(self._path, "w") as archive:
            archive.add(self._layer_path, "layer.tar")
            parts: dict[str, Any] = {"config.json": configuration, "manifest.json": manifest}
            for name, content in parts.items():
                text = json.dumps(content).encode()
                info = tarfile.TarInfo(name)
                info.size = len(text)
                archive.addfile(info, io.BytesIO(text))


def _of_root(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    return info


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


if __name__ == "__main__":
    with kubernetes_cluster() as running_cluster:
        print(running_cluster.kubeconfig, flush=True)  # noqa: T201 - for a person
        sys.stdin.read()
