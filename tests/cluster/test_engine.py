"""A whole engine whose deployments are pods: pulumi really runs in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.engine import server, tokens
from reconciler.engine.config import Containers, EngineConfig
from reconciler.engine.kubernetes_settings import KubernetesSettings, KubernetesVolume
from tests.engine.harness import NO_INSTALL, Api, make_repository
from tests.kubernetes_cluster import HOST_IMAGE, Cluster
from tests.runners.kubernetes_role import engine_kubeconfig
from tests.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.real]


@pytest.fixture
def config(cluster: Cluster, settings: KubernetesSettings, tmp_path: Path) -> EngineConfig:
    """An engine whose data is on a volume of the node."""
    account = engine_kubeconfig(cluster, settings.namespace, tmp_path / "account")
    data = tmp_path / "data"
    data.mkdir()
    return EngineConfig(
        data=data,
        port=0,
        runner="kubernetes",
        workers=2,
        local_repositories=True,
        containers=Containers(default_image=HOST_IMAGE, pull="never"),
        kubernetes=replace(settings, config=str(account), volume=KubernetesVolume(path=data)),
    )


@pytest.fixture
def api(config: EngineConfig) -> Iterator[Api]:
    """A caller of that engine."""
    with server.running(config) as engine:
        yield caller(engine)


def caller(engine: server.Engine) -> Api:
    token = tokens.create(
        engine.layout.data,
        organization="acme",
        user="norm",
        email="norm@example.com",
        role="deploy",
        expires=None,
    )
    return Api(engine.url, token)


def pods(cluster: Cluster, config: EngineConfig) -> list[Any]:
    path = f"/api/v1/namespaces/{config.kubernetes.namespace}/pods"
    return list(cluster.call("GET", path)["items"])


def test_pulumi_runs_in_a_pod(
    api: Api, cluster: Cluster, config: EngineConfig, tmp_path: Path
) -> None:
    """Clone, pre-run command, operation and state: a second one finds what the first made."""
    repository = make_repository(tmp_path / "repository")
    for _ in range(2):
        made = api.create(
            "acme/web/dev",
            repository,
            options=NO_INSTALL,
            preRunCommands=[
                "echo FROM_POD=$(cat /etc/hostname) >PULUMI_ENV",
                "echo from $FROM_POD",
            ],
        )
        ended = api.ended("acme/web/dev", made["id"])
        log = api.log("acme/web/dev", made["id"])
        assert ended["status"] == "succeeded", "\n".join(log)
        assert any(f"of the image {HOST_IMAGE}, in a pod" in line for line in log)
        assert any(line.startswith("from reconciler-") for line in log)
        assert any("us-west-2" in line for line in log)
    eventually(lambda: pods(cluster, config) == [], "the pod is gone")


def test_a_cancel_in_a_step_ends_the_pod(
    api: Api, cluster: Cluster, config: EngineConfig, tmp_path: Path
) -> None:
    """The deployment is canceled, and nothing of it is in the cluster any more."""
    repository = make_repository(tmp_path / "repository")
    made = api.create("acme/web/dev", repository, options=NO_INSTALL, preRunCommands=["sleep 1000"])
    api.step("acme/web/dev", made["id"], "Pre-run command 1")
    assert api.cancel("acme/web/dev", made["id"]) in {200, 202, 204}
    assert api.ended("acme/web/dev", made["id"])["status"] == "failed"
    assert "the deployment was canceled" in "\n".join(api.log("acme/web/dev", made["id"]))
    eventually(lambda: pods(cluster, config) == [], "the pod is gone")


def test_without_a_volume_state_on_the_engines_disk_is_refused(
    config: EngineConfig, tmp_path: Path
) -> None:
    """The first step fails, and its log says what to do."""
    repository = make_repository(tmp_path / "repository")
    alone = replace(config, kubernetes=replace(config.kubernetes, volume=None))
    with server.running(alone) as engine:
        api = caller(engine)
        made = api.create("acme/web/dev", repository, options=NO_INSTALL)
        assert api.ended("acme/web/dev", made["id"])["status"] == "failed"
        log = "\n".join(api.log("acme/web/dev", made["id"]))
    assert "--kubernetes-volume" in log
    assert "s3://" in log
