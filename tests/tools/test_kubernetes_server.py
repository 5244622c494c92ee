"""The tests' own Kubernetes API server is a real one, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import urllib.error
from pathlib import Path

import pytest

from tests.kubernetes_server import KubernetesServer
from tests.runners.processes import LIMIT_S, left
from tests.waiting import eventually

pytestmark = pytest.mark.real


def test_each_namespace_is_its_own(api_server: KubernetesServer) -> None:
    """What a test makes, another does not see."""
    first, second = api_server.namespace(), api_server.namespace()
    made = {"metadata": {"name": "x"}, "stringData": {"a": "b"}}
    api_server.call("POST", f"/api/v1/namespaces/{first}/secrets", made)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        api_server.call("GET", f"/api/v1/namespaces/{second}/secrets/x")


def test_it_keeps_to_roles(api_server: KubernetesServer) -> None:
    """An account without a role may do nothing."""
    namespace = api_server.namespace()
    token = api_server.account_token(namespace, "default")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        api_server.call(
            "GET", f"/api/v1/namespaces/{namespace}/pods", Authorization=f"Bearer {token}"
        )


def test_it_ends_with_the_tests() -> None:
    """Tests that are killed leave none of its processes behind."""
    tests = subprocess.Popen(
        [sys.executable, "-m", "tests.kubernetes_server"],
        cwd=Path(__file__).parents[2],
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert tests.stdout is not None
    kubeconfig = Path(tests.stdout.readline().strip())
    assert left(str(kubeconfig.parent)) != []
    tests.kill()
    tests.communicate(timeout=LIMIT_S)
    eventually(lambda: left(str(kubeconfig.parent)) == [], "its programs are gone")
    shutil.rmtree(kubeconfig.parent)
