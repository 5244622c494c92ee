"""The Job of one deployment in the cluster, and its pod: made, looked at, called, deleted."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

from reconciler.engine.kubernetes_settings import KubernetesSettings
from reconciler.engine.runners.base import Needs, OnOutput, PlaceError
from reconciler.engine.runners.kubernetes import objects
from reconciler.engine.runners.kubernetes.answers import ApiError
from reconciler.engine.runners.kubernetes.api import Api, ExecTarget
from reconciler.engine.runners.kubernetes.objects import CONTAINER, PodState, pod_state, selector
from reconciler.engine.runners.kubernetes.websocket import Exec
from reconciler.errors import ReconcilerError

__all__ = ["Namespace", "Pod"]

_log = logging.getLogger(__name__)

CONFLICT, NOT_FOUND, FORBIDDEN = 409, 404, 403

# What a pod that is to go at once is given: the node kills what is in it after so many
# seconds, and only then the object goes. With 0 it would go at once, and tell nothing.
GONE_AFTER_S = 1

# How soon one looks again: at first often, as a pod starts in half a second.
LOOK_AGAIN_S = (0.05, 0.1, 0.1, 0.2, 0.2, 0.3, 0.5)
LOOK_LATER_S = 1.0

# A Job whose pod is not there after so long has been refused one: its events say why.
NO_POD_S = 3.0

NOTE_BYTES = 2000

# What a script of the agent's may answer: words about an image, and what a command has written
# for the engine. The programs that it calls are the image's own, and may never stop to write.
MOST_ANSWERED_BYTES = 4 * 1024 * 1024
TOO_LARGE = 413


class Namespace:
    """The objects of deployments in one namespace of a cluster."""

    def __init__(self, api: Api, name: str, gone_limit: timedelta) -> None:
        self.api = api
        self.name = name
        self._gone_limit_s = gone_limit.total_seconds()

    def jobs(self) -> str:
        """Return the path of all Jobs."""
        return f"/apis/batch/v1/namespaces/{self.name}/jobs"

    def core(self, kind: str) -> str:
        """Return the path of all objects of a kind of the core API."""
        return f"/api/v1/namespaces/{self.name}/{kind}"

    def pods(self, deployment_id: str) -> list[dict[str, Any]]:
        """Return the pods of a deployment."""
        return self._list(self.core("pods"), deployment_id)

    def end(self, deployment_id: str) -> int:
        """Delete all of a deployment, wait until it is gone, and return how many pods it had.

        ReconcilerError where some do not go.
        """
        found = self._list(self.jobs(), deployment_id)
        for job in found:
            self._delete(f"{self.jobs()}/{_name(job)}", {"propagationPolicy": "Background"})
        seen: set[str] = set()
        for _ in _looks(self._gone_limit_s):
            left = self.pods(deployment_id)
            for pod in left:
                if _name(pod) not in seen:
                    seen.add(_name(pod))
                    options = {"gracePeriodSeconds": GONE_AFTER_S}
                    self._delete(f"{self.core('pods')}/{_name(pod)}", options)
            if not left and not self._list(self.jobs(), deployment_id):
                return len(seen)
        places = ", ".join(f"{_name(pod)} on node {_node(pod)}" for pod in left) or "its Job"
        raise ReconcilerError(
            f"deployment {deployment_id} is still in the cluster {self._gone_limit_s:.0f} s after "
            f"it was deleted: {places}. Look at it (`kubectl -n {self.name} describe pods -l "
            f"{selector(deployment_id)}`)"
        )

    def why_no_pod(self, job: str) -> str:
        """Return what the cluster says of a Job that gets no pod, or an empty text."""
        query = {"fieldSelector": f"involvedObject.name={job},type=Warning"}
        try:
            events = self.api.call("GET", self.core("events"), query=query).get("items") or ()
        except ReconcilerError:
            return ""
        texts = [str(event.get("message", "")) for event in events]
        return texts[-1][:NOTE_BYTES] if texts else ""

    def _list(self, path: str, deployment_id: str) -> list[dict[str, Any]]:
        try:
            query = {"labelSelector": selector(deployment_id), "limit": "500"}
        except ValueError as error:
            raise ReconcilerError(str(error)) from error
        items = self.api.call("GET", path, query=query).get("items")
        return items if isinstance(items, list) else []

    def _delete(self, path: str, options: dict[str, Any]) -> None:
        try:
            self.api.call("DELETE", path, {"apiVersion": "v1", "kind": "DeleteOptions", **options})
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise


class Pod:
    """One deployment's Job and pod. `kills` counts what the kernel ended there for memory."""

    def __init__(self, namespace: Namespace, job: str, needs: Needs) -> None:
        self.name = job  # the pod's own once it runs
        self.kills = 0
        self._namespace = namespace
        self._job = job
        self._needs = needs

    def make(self, settings: KubernetesSettings) -> None:
        """Make the Job, and the secret that its pod is pulled with. PlaceError where refused."""
        image = self._needs.image
        secret = bool(image.user_name)
        made = self._create(
            self._namespace.jobs(),
            objects.job(self._job, self._needs, settings, suspended=secret),
        )
        if secret:
            # Its owner has to be there first: so it goes with the Job in every case.
            uid = str(made["metadata"]["uid"])
            path = self._namespace.core("secrets")
            self._create(path, objects.pull_secret(self._job, uid, image))
            self._try(
                "PATCH", f"{self._namespace.jobs()}/{self._job}", {"spec": {"suspend": False}}
            )

    def wait(self, limit_s: float, on_output: OnOutput, stop: threading.Event) -> None:
        """Wait until the pod runs, and say what it waits for. PlaceError where it will not."""
        begun, said, refused, state = time.monotonic(), "", "", PodState()
        for _ in _looks(limit_s, stop):
            pods = self._namespace.pods(self._needs.deployment_id)
            mine = [pod for pod in pods if _job_of(pod) == self._job]
            if mine:
                self.name, state = _name(mine[0]), pod_state(mine[0])
                if state.running:
                    return
            elif time.monotonic() - begun > NO_POD_S:
                refused = self._namespace.why_no_pod(self._job) or refused
                state = PodState(message=refused or "the cluster has not made the pod yet")
            if state.hopeless or state.ended:
                raise PlaceError(f"the pod cannot run: {state.message}")
            if state.pulling_failed and state.message.startswith("ImagePullBackOff"):
                raise PlaceError(f"the image cannot be pulled: {said or state.message}")
            if state.message and state.message not in {
                said,
                "ContainerCreating",
                "PodInitializing",
            }:
                said = state.message
                on_output(f"waiting for the pod: {said}\n".encode())
        if stop.is_set():
            raise PlaceError("stopped")
        raise PlaceError(
            f"the pod does not run after {limit_s:.0f} s: {state.message or 'no word'}"
        )

    def why_gone(self) -> str | None:
        """Say why the pod has ended or is no more; None while it runs. ReconcilerError unknown."""
        try:
            pod = self._namespace.api.call("GET", f"{self._namespace.core('pods')}/{self.name}")
        except ApiError as error:
            if error.status == NOT_FOUND:
                return "it was deleted"
            raise
        state = pod_state(pod)
        return state.message if state.ended else None

    def exec(self, script: str, *arguments: str, stdin: bool = False) -> Exec:
        """Start one of the agent's scripts in the container."""
        target = ExecTarget(namespace=self._namespace.name, pod=self.name, container=CONTAINER)
        argv = ("sh", "-c", script, "agent", *arguments)
        return self._namespace.api.exec(target, argv, stdin=stdin)

    def run(
        self,
        script: str,
        *arguments: str,
        limit_s: float = 60.0,
        data: Iterable[bytes] = (),
        stop: threading.Event | None = None,
    ) -> tuple[int, bytes, bytes]:
        """Run one of the agent's scripts to its end: its exit code and what it wrote.

        UnreachableError at the time limit as well, and where `stop` is set meanwhile; ApiError
        as well where it writes too much.
        """
        chunks = iter(data)
        first = next(chunks, None)
        running = self.exec(script, *arguments, stdin=first is not None)
        output, errors = bytearray(), bytearray()
        ended = threading.Event()

        def watch() -> None:
            end = time.monotonic() + limit_s
            while not ended.wait(0.1):
                if time.monotonic() > end or (stop is not None and stop.is_set()):
                    running.abort()
                    return

        watcher = threading.Thread(target=watch, name="pod-limit", daemon=True)
        watcher.start()
        try:
            if first is not None:
                running.send(first)
                for chunk in chunks:
                    running.send(chunk)
            code = running.receive(partial(_keep, output), partial(_keep, errors))
        finally:
            ended.set()
            watcher.join()
            running.close()
        return code, bytes(output), bytes(errors)

    def delete(self) -> None:
        """Delete all of the deployment, and wait until it is gone. ReconcilerError otherwise."""
        self._namespace.end(self._needs.deployment_id)

    def _create(self, path: str, made: dict[str, Any]) -> dict[str, Any]:
        """Make an object; one of its name is the same, made by a try whose answer was lost."""
        try:
            return self._try("POST", path, made)
        except ApiError as error:
            if error.status != CONFLICT:
                raise
            return self._try("GET", f"{path}/{made['metadata']['name']}", None)

    def _try(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        try:
            return self._namespace.api.call(method, path, body)
        except ApiError as error:
            if error.status == CONFLICT:
                raise
            hint = (
                ": give the engine's account the role of docs/kubernetes.md"
                if error.status == FORBIDDEN and "cannot" in str(error)
                else ""
            )
            raise PlaceError(f"Kubernetes refuses: {error}{hint}") from error
        except ReconcilerError as error:
            raise PlaceError(str(error)) from error


def _keep(kept: bytearray, part: bytes) -> None:
    if len(kept) + len(part) > MOST_ANSWERED_BYTES:
        raise ApiError(TOO_LARGE, f"it gives more than {MOST_ANSWERED_BYTES} bytes")
    kept.extend(part)


def _looks(limit_s: float, stop: threading.Event | None = None) -> Iterator[None]:
    """Yield, with pauses between, until the limit or `stop`."""
    end = time.monotonic() + limit_s
    pauses = iter(LOOK_AGAIN_S)
    waiter = stop or threading.Event()
    while time.monotonic() < end and not waiter.is_set():
        yield
        waiter.wait(next(pauses, LOOK_LATER_S))


def _name(made: dict[str, Any]) -> str:
    return str(made["metadata"]["name"])


def _node(pod: dict[str, Any]) -> str:
    return str((pod.get("spec") or {}).get("nodeName") or "(none)")


def _job_of(pod: dict[str, Any]) -> str:
    """Return the Job that owns the pod."""
    with contextlib.suppress(LookupError, TypeError):
        return str(pod["metadata"]["ownerReferences"][0]["name"])
    return ""
