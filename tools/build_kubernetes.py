"""Builds the pinned programs of a Kubernetes cluster for the tests, once, outside the tree.

Without an argument etcd and the API server, which the ordinary tests use; with `--cluster` also
what a node needs, for the tests that run pods. Does nothing where they are built already.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

from reconciler.pulumi_cli import cache_directory
from tools.go_build import ROOT, GoProgram, build, find_go, without_go

__all__ = ["API_SERVER", "CLUSTER", "location", "main"]

ETCD_MODULE = ROOT / "tools/kubernetes/etcd"
CLUSTER_MODULE = ROOT / "tools/kubernetes/cluster"
ETCD_PACKAGE = "go.etcd.io/etcd/server/v3"
KUBERNETES_MODULE = "k8s.io/kubernetes"

# Programs, from the one that is needed first.
API_SERVER = ("etcd", "kube-apiserver")
CLUSTER = (*API_SERVER, "kube-controller-manager", "kube-scheduler", "kubelet")


def main(arguments: list[str]) -> int:
    """Build what is missing, and say where it is."""
    names = CLUSTER if "--cluster" in arguments else API_SERVER
    missing = [name for name in names if not os.access(location(name), os.X_OK)]
    if missing:
        cache = location(missing[0]).parent.parent
        modules = (ETCD_MODULE, CLUSTER_MODULE)
        go = find_go(modules, cache)
        if go is None:
            print(without_go("Kubernetes", modules) + "and try again", file=sys.stderr)
            return 1
        for name in missing:
            print(f"building {name} into {location(name).parent}, once", flush=True)
            _build(go, name)
    for directory in dict.fromkeys(location(name).parent for name in names):
        print(f"{directory.name} is in {directory}")
    return 0


def location(name: str) -> Path:
    """Return where a program is, once it is built."""
    project, module, path = (
        ("etcd", ETCD_MODULE, ETCD_PACKAGE)
        if name == "etcd"
        else ("kubernetes", CLUSTER_MODULE, KUBERNETES_MODULE)
    )
    return cache_directory(os.environ).parent / f"{project}-{_pinned(module, path)}" / name


def _build(go: str, name: str) -> None:
    """Build one program; it is there whole or not at all."""
    if name == "etcd":
        program = GoProgram(module=ETCD_MODULE, package=ETCD_PACKAGE)
    else:
        # Its API's clients and its own parts compare versions, and refuse one that is none.
        version = (
            "k8s.io/component-base/version.gitVersion",
            location(name).parent.name.removeprefix("kubernetes-"),
        )
        package = f"{KUBERNETES_MODULE}/cmd/{name}"
        program = GoProgram(module=CLUSTER_MODULE, package=package, variables=(version,))
    target = location(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        build(go, program, Path(folder) / name)
        (Path(folder) / name).rename(target)


def _pinned(module: Path, path: str) -> str:
    """Return the version that the module's go.mod pins."""
    text = (module / "go.mod").read_text()
    match = re.search(rf"^(?:require)?\s+{re.escape(path)} (v\S+)", text, re.MULTILINE)
    if match is None:
        raise SystemExit(f"{module / 'go.mod'} does not pin {path}")
    return match[1]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
