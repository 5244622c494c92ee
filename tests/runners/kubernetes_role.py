"""The role that the documentation gives to an engine, for the tests to run with."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import yaml

from tests.kubernetes_server import KubernetesServer

__all__ = ["engine_kubeconfig"]

PAGE = Path(__file__).parents[2] / "docs" / "kubernetes.md"


def engine_kubeconfig(server: KubernetesServer, namespace: str, path: Path) -> Path:
    """Make the account and the role of the documentation, and write its configuration."""
    for made in _documented():
        moved = _moved(made, namespace)
        kind = moved["kind"].lower() + "s"
        version = moved["apiVersion"]
        base = f"/api/{version}" if version == "v1" else f"/apis/{version}"
        server.call("POST", f"{base}/namespaces/{namespace}/{kind}", moved)
    return server.write_kubeconfig(path, server.account_token(namespace, "reconciler"), namespace)


def _documented() -> list[Any]:
    """Return the manifests of the page."""
    block = re.search(r"```yaml\n(.*?)\n *```", PAGE.read_text(), re.DOTALL)
    assert block is not None
    return list(yaml.safe_load_all(textwrap.dedent(block[1])))


def _moved(made: Any, namespace: str) -> Any:
    """Return the object for another namespace than the page's."""
    if isinstance(made, dict):
        moved = {key: _moved(value, namespace) for key, value in made.items()}
        return moved | {"namespace": namespace} if "namespace" in moved else moved
    return [_moved(item, namespace) for item in made] if isinstance(made, list) else made
