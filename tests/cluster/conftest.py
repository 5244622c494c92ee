from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.engine.kubernetes_settings import KubernetesSettings, KubernetesVolume
from reconciler.engine.runners.kubernetes.runner import KubernetesRunner
from tests.kubernetes_cluster import HOST_IMAGE, Cluster, kubernetes_cluster

MakeRunner = Callable[..., KubernetesRunner]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A real cluster of one node, started at its first use."""
    with kubernetes_cluster() as running:
        yield running


@pytest.fixture
def settings(cluster: Cluster) -> KubernetesSettings:
    """Settings for that cluster: a namespace of the test's own, Debian's programs in the image."""
    return KubernetesSettings(
        config=str(cluster.kubeconfig),
        namespace=cluster.namespace(),
        image=HOST_IMAGE,
        pull="never",
        request_disk="0",
        request_cpu="10m",
        request_memory="16Mi",
        start_limit=timedelta(seconds=60),
    )


@pytest.fixture
def shared(settings: KubernetesSettings, tmp_path: Path) -> KubernetesRunner:
    """A runner whose pods share the test's directory with the engine."""
    return KubernetesRunner(replace(settings, volume=KubernetesVolume(path=tmp_path)))
