"""The kubernetes runner against a real API server. What a node would do, the tests do."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler.engine.kubernetes_settings import KubernetesSettings, KubernetesVolume
from reconciler.engine.runners.base import Image, Needs, Place, Process, Surroundings
from reconciler.engine.runners.kubernetes.runner import KubernetesRunner
from reconciler.errors import ReconcilerError
from tests.kubernetes_server import KubernetesServer, free_ports
from tests.runners.kubernetes_role import engine_kubeconfig
from tests.runners.processes import LIMIT_S
from tests.waiting import eventually

pytestmark = pytest.mark.real

CANARY = "canary-5f0b2c"


@dataclass
class Site:
    """A namespace, what runs deployments there, and a place that gets ready."""

    server: KubernetesServer
    namespace: str
    settings: KubernetesSettings
    workspace: Path
    output: list[bytes] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)

    def needs(self, deployment_id: str = "d-1", **changes: Any) -> Needs:
        """Return what a deployment needs that keeps its state elsewhere."""
        return Needs(
            deployment_id=deployment_id,
            **{"surroundings": Surroundings(workspace=self.workspace), **changes},
        )

    def prepare(self, needs: Needs, **changes: Any) -> Process:
        """Have a place made ready."""
        place = KubernetesRunner(replace(self.settings, **changes)).open(needs)
        self.places.append(place)
        return place.prepare(self.output.append)

    def said(self) -> str:
        """Return what the log of the first step says."""
        return b"".join(self.output).decode()

    def refused(self, needs: Needs, **changes: Any) -> str:
        """Return why a place cannot be had."""
        assert self.prepare(needs, **changes).wait(LIMIT_S) == 1
        return self.said()

    def jobs(self) -> list[Any]:
        path = f"/apis/batch/v1/namespaces/{self.namespace}/jobs"
        return list(self.server.call("GET", path)["items"])

    def pods(self) -> list[Any]:
        return list(self.server.call("GET", self.core("pods"))["items"])

    def core(self, kind: str) -> str:
        return f"/api/v1/namespaces/{self.namespace}/{kind}"

    def job(self) -> Any:
        """Wait for a Job, and return the newest one."""
        eventually(lambda: self.jobs() != [], "a Job")
        return self.jobs()[-1]

    def make_pod(self, **status: Any) -> str:
        """Make the pod of the Job, as the controller does, and give it a status."""
        job = self.job()
        owner = {"apiVersion": "batch/v1", "kind": "Job", "controller": True}
        own = {"name": job["metadata"]["name"], "uid": job["metadata"]["uid"]}
        template = job["spec"]["template"]
        name = f"{own['name']}-pod"
        metadata = {
            "name": name,
            "labels": template["metadata"]["labels"],
            "ownerReferences": [owner | own],
        }
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        self.server.call("POST", self.core("pods"), pod)
        self.say(name, **status)
        return name

    def say(self, pod: str, **status: Any) -> None:
        """Write what a node says of a pod."""
        path = f"{self.core('pods')}/{pod}"
        made = self.server.call("GET", path)
        made["status"] = {"phase": "Pending"} | status
        self.server.call("PUT", f"{path}/status", made)


def waiting(reason: str, message: str) -> dict[str, Any]:
    """Return the status of a container that waits."""
    state = {"waiting": {"reason": reason, "message": message}}
    common = {"name": "deployment", "image": "x", "imageID": "", "ready": False, "restartCount": 0}
    return {"containerStatuses": [common | {"state": state}]}


@pytest.fixture
def site(api_server: KubernetesServer, tmp_path: Path) -> Any:
    """A namespace of the test's own, with the documented role."""
    namespace = api_server.namespace()
    config = engine_kubeconfig(api_server, namespace, tmp_path / "kubeconfig")
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    settings = KubernetesSettings(config=str(config), start_limit=timedelta(seconds=LIMIT_S))
    made = Site(api_server, namespace, settings, workspace)
    yield made
    for place in made.places:
        place.close()


def test_the_job_is_bounded_and_has_no_privileges(site: Site) -> None:
    """Memory, processor, disk, time and tries have limits; no token and no capability is there."""
    process = site.prepare(site.needs())
    spec = site.job()["spec"]
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"]) == (0, 86400)
    assert spec["ttlSecondsAfterFinished"] == 3600
    pod = spec["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["restartPolicy"] == "Never"
    assert pod["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
    assert not pod.get("hostNetwork", False)
    assert [kind for volume in pod["volumes"] for kind in volume if kind != "name"] == [
        "emptyDir",
        "emptyDir",
    ]
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"] == {
        "cpu": "2",
        "memory": str(4 * 1024**3),
        "ephemeral-storage": str(10 * 1024**3),
    }
    assert container["resources"]["requests"]["memory"] == "512Mi"
    process.kill()
    assert process.wait(LIMIT_S) == 137


def test_the_deployments_id_is_a_label_of_all(site: Site) -> None:
    """By it everything is found again, and a person sees what a pod is for."""
    process = site.prepare(site.needs("b0b1"))
    job = site.job()
    for metadata in (job["metadata"], job["spec"]["template"]["metadata"]):
        assert metadata["labels"]["reconciler/deployment"] == "b0b1"
        assert metadata["labels"]["app.kubernetes.io/component"] == "deployment"
    process.kill()
    process.wait(LIMIT_S)


def test_settings_reach_the_pod(site: Site) -> None:
    """The account, the user, the quantities and the deadline are those that were asked for."""
    process = site.prepare(
        site.needs(),
        service_account="deployer",
        user=1000,
        cpu="500m",
        request_memory="64Mi",
        deadline=timedelta(minutes=5),
        image="example.com/own:1",
    )
    spec = site.job()["spec"]
    pod = spec["template"]["spec"]
    assert spec["activeDeadlineSeconds"] == 300
    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == ("deployer", True)
    assert pod["securityContext"]["runAsUser"] == 1000
    assert pod["securityContext"]["runAsNonRoot"] is True
    (container,) = pod["containers"]
    assert container["image"] == "example.com/own:1"
    assert container["resources"]["limits"]["cpu"] == "500m"
    assert container["resources"]["requests"]["memory"] == "64Mi"
    process.kill()
    process.wait(LIMIT_S)


def test_registry_credentials_are_a_secret_of_the_job(site: Site) -> None:
    """They are in an object of their own that goes with the Job, and in no other."""
    image = Image(reference="example.com/a/b:1", user_name="ann", password=CANARY)
    process = site.prepare(site.needs(image=image))
    eventually(lambda: site.job()["spec"].get("suspend") is False, "the Job is let go")
    job = site.job()
    (reference,) = job["spec"]["template"]["spec"]["imagePullSecrets"]
    secret = site.server.call("GET", f"{site.core('secrets')}/{reference['name']}")
    assert secret["type"] == "kubernetes.io/dockerconfigjson"
    assert secret["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
    content = json.loads(base64.b64decode(secret["data"][".dockerconfigjson"]))
    assert content["auths"]["example.com"]["password"] == CANARY
    assert CANARY not in json.dumps(job)
    assert CANARY not in repr(site.needs(image=image))
    process.kill()
    process.wait(LIMIT_S)


def test_an_image_that_cannot_be_pulled_fails_with_the_nodes_words(site: Site) -> None:
    """The first try is waited for; after the second the log says what the node said."""
    process = site.prepare(site.needs())
    pod = site.make_pod(**waiting("ErrImagePull", "manifest unknown: no such tag"))
    eventually(lambda: "no such tag" in site.said(), "the first try is told of")
    assert process.wait(0) is None
    site.say(pod, **waiting("ImagePullBackOff", "Back-off pulling image"))
    assert process.wait(LIMIT_S) == 1
    last = site.said().splitlines()[-1]
    assert last == "the image cannot be pulled: ErrImagePull: manifest unknown: no such tag"


@pytest.mark.parametrize("reason", ["InvalidImageName", "CreateContainerConfigError"])
def test_what_no_waiting_changes_fails_at_once(site: Site, reason: str) -> None:
    """A pod that can never run is not waited for."""
    process = site.prepare(site.needs())
    site.make_pod(**waiting(reason, "so it is"))
    assert process.wait(LIMIT_S) == 1
    assert f"the pod cannot run: {reason}: so it is" in site.said()


def test_a_pod_that_finds_no_node_is_given_up(site: Site) -> None:
    """The log says what it waits for, and after the limit the step fails with that."""
    process = site.prepare(site.needs(), start_limit=timedelta(seconds=3))
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient memory.",
    }
    site.make_pod(conditions=[condition])
    assert process.wait(LIMIT_S) == 1
    first, last = site.said().splitlines()
    assert first == f"waiting for the pod: Unschedulable: {condition['message']}"
    assert last.startswith("the pod does not run after 3 s: Unschedulable: 0/3 nodes")


def test_a_job_that_gets_no_pod_tells_the_clusters_reason(site: Site) -> None:
    """Where admission refuses the pod, only an event of the Job says so."""
    process = site.prepare(site.needs(), start_limit=timedelta(seconds=6))
    job = site.job()["metadata"]
    involved = {"kind": "Job", "namespace": site.namespace, "name": job["name"]}
    event = {
        "metadata": {"name": "refused"},
        "involvedObject": involved | {"apiVersion": "batch/v1", "uid": job["uid"]},
        "type": "Warning",
        "reason": "FailedCreate",
        "message": "pods is forbidden: violates PodSecurity",
    }
    site.server.call("POST", site.core("events"), event)
    assert process.wait(LIMIT_S) == 1
    assert "violates PodSecurity" in site.said()


def test_an_account_without_the_role_is_told_what_it_lacks(site: Site, tmp_path: Path) -> None:
    """The API's words come with the page that has the role."""
    token = site.server.account_token(site.namespace, "default")
    config = site.server.write_kubeconfig(tmp_path / "poor", token, site.namespace)
    said = site.refused(site.needs(), config=str(config))
    assert "cannot create resource" in said
    assert "docs/kubernetes.md" in said
    assert len(said.splitlines()) == 1


def test_a_refusal_by_admission_is_told(site: Site) -> None:
    """A quota of the namespace that is used up is in the log in the API's words."""
    hard = {"count/jobs.batch": "0"}
    quota = {"metadata": {"name": "none"}, "spec": {"hard": hard}}
    made = site.server.call("POST", site.core("resourcequotas"), quota)
    made["status"] = {"hard": hard, "used": hard}  # a controller counts, as a rule
    site.server.call("PUT", f"{site.core('resourcequotas')}/none/status", made)
    said = site.refused(site.needs())
    assert said.startswith("Kubernetes refuses: ")
    assert "quota" in said


def test_a_server_that_does_not_answer_is_told(site: Site, tmp_path: Path) -> None:
    """It is tried for some seconds; then the log says which server that is."""
    (port,) = free_ports(1)
    config = tmp_path / "away"
    text = Path(site.settings.config).read_text()
    config.write_text(text.replace(site.server.url, f"https://127.0.0.1:{port}"))
    said = site.refused(site.needs(), config=str(config))
    assert f"https://127.0.0.1:{port} does not answer" in said


def test_a_server_whose_certificate_is_another_is_not_asked(site: Site, tmp_path: Path) -> None:
    """Nothing is sent to who cannot show that it is the one."""
    config = tmp_path / "trusting-nobody"
    lines = Path(site.settings.config).read_text().splitlines()
    config.write_text("\n".join(line for line in lines if "authority" not in line))
    said = site.refused(site.needs(), config=str(config))
    assert "certificate verify failed" in said
    assert site.jobs() == []


def test_state_on_the_engines_disk_is_refused(site: Site, tmp_path: Path) -> None:
    """It would be lost with the pod: the log names both ways out, and no Job is made."""
    around = Surroundings(workspace=site.workspace, writable=(tmp_path / "state",))
    said = site.refused(site.needs(surroundings=around))
    assert str(tmp_path / "state") in said
    assert "s3://" in said
    assert "--kubernetes-volume" in said
    assert site.jobs() == []


def test_caches_need_no_volume(site: Site, tmp_path: Path) -> None:
    """What may be lost is an empty directory of the pod's own."""
    plugins = tmp_path / "plugins"
    around = Surroundings(workspace=site.workspace, writable=(plugins,), caches=(plugins,))
    process = site.prepare(site.needs(surroundings=around))
    (container,) = site.job()["spec"]["template"]["spec"]["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert mounts[str(plugins)] == mounts[str(site.workspace)] == "own"
    process.kill()
    process.wait(LIMIT_S)


@pytest.mark.parametrize("claim", ["", "data"])
def test_of_a_volume_a_pod_has_only_its_own(site: Site, tmp_path: Path, claim: str) -> None:
    """Each directory is a part of the volume; the rest of the engine's data is not there."""
    around = Surroundings(workspace=site.workspace, writable=(tmp_path / "state" / "acme",))
    volume = KubernetesVolume(path=tmp_path, claim=claim)
    process = site.prepare(site.needs(surroundings=around), volume=volume)
    pod = site.job()["spec"]["template"]["spec"]
    mounts = {m["mountPath"]: m.get("subPath") for m in pod["containers"][0]["volumeMounts"]}
    assert mounts[str(site.workspace)] == "workspace"
    assert mounts[str(tmp_path / "state" / "acme")] == "state/acme"
    assert str(tmp_path) not in mounts
    (kind,) = [v for v in pod["volumes"] if v["name"] == "volume"]
    if claim:
        assert kind["persistentVolumeClaim"] == {"claimName": "data"}
    else:
        assert kind["hostPath"]["path"] == str(tmp_path)
    process.kill()
    process.wait(LIMIT_S)


def test_what_is_closed_is_gone(site: Site) -> None:
    """A place that is given up leaves no Job and no pod, whatever it had come to."""
    process = site.prepare(site.needs())
    site.make_pod()
    process.kill()
    assert process.wait(LIMIT_S) == 137
    site.places[0].close()
    site.places[0].close()
    assert (site.jobs(), site.pods()) == ([], [])


def test_strays_are_found_by_the_deployments_id(site: Site) -> None:
    """An engine that starts anew ends what the last one left, and nothing of others."""
    for name in ("lost", "other"):
        process = site.prepare(site.needs(name))
        eventually(lambda: len(site.jobs()) == len(site.places), "the Job")
        process.kill()
        process.wait(LIMIT_S)
    for job in site.jobs():
        label = job["metadata"]["labels"]["reconciler/deployment"]
        pod = {
            "metadata": {"name": f"pod-{label}", "labels": job["metadata"]["labels"]},
            "spec": {"containers": [{"name": "deployment", "image": "x"}]},
        }
        site.server.call("POST", site.core("pods"), pod)
    runner = KubernetesRunner(site.settings)
    assert runner.end_strays("lost") == 1
    assert [pod["metadata"]["name"] for pod in site.pods()] == ["pod-other"]
    assert len(site.jobs()) == 1
    assert runner.end_strays("lost") == 0


def test_a_pod_that_does_not_go_is_an_error(site: Site) -> None:
    """What may still run is never taken for ended: the error says where to look."""
    pod = {
        "metadata": {
            "name": "stuck",
            "labels": {"reconciler/deployment": "lost"},
            "finalizers": ["example.com/held"],
        },
        "spec": {"nodeName": "away", "containers": [{"name": "deployment", "image": "x"}]},
    }
    site.server.call("POST", site.core("pods"), pod)
    runner = KubernetesRunner(replace(site.settings, gone_limit=timedelta(seconds=2)))
    with pytest.raises(ReconcilerError, match="stuck on node away") as caught:
        runner.end_strays("lost")
    assert "kubectl" in str(caught.value)


def test_a_lost_answer_makes_no_second_job(site: Site) -> None:
    """Whoever asks again by the same name gets the Job that is there."""
    process = site.prepare(site.needs())
    pod = site.places[0]._pod  # type: ignore[attr-defined]
    site.job()
    again = threading.Thread(target=pod.make, args=(site.settings,))
    again.start()
    again.join(LIMIT_S)
    assert len(site.jobs()) == 1
    process.kill()
    process.wait(LIMIT_S)


HOSTILE: dict[str, Callable[[], str]] = {
    "a slash": lambda: "../../secrets",
    "a space": lambda: "a b",
    "too long": lambda: "x" * 64,
    "a selector": lambda: "a,b=c",
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE.keys())
def test_an_id_that_is_no_label_is_refused(site: Site, make: Callable[[], str]) -> None:
    """It would select others' pods, or none."""
    assert "can be no label" in site.refused(site.needs(make()))
    with pytest.raises(ReconcilerError, match="can be no label"):
        KubernetesRunner(site.settings).end_strays(make())
