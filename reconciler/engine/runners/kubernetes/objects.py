"""The objects a deployment is in a cluster, and what a pod's status says. Pure."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.engine.kubernetes_settings import KubernetesSettings
from reconciler.engine.runners.base import Image, Needs
from reconciler.engine.runners.kubernetes.agent import BOX, KEEP, OUTPUT

__all__ = [
    "CONTAINER",
    "LABEL",
    "PodState",
    "job",
    "mounts_of",
    "pod_state",
    "pull_secret",
    "selector",
]

# By its id all objects of a deployment are found again.
LABEL = "reconciler/deployment"
CONTAINER = "deployment"

# What Kubernetes takes as a label's value.
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?\Z", re.ASCII)

# An ended Job that nobody has deleted, since its engine is gone, goes by itself.
KEPT_AFTER_END_S = 3600

# Orders of commands: an environment is at most 2 MB.
BOX_BYTES = 16 * 1024 * 1024

# Reasons that no waiting changes, and those by which a try has failed already.
_HOPELESS = frozenset({"InvalidImageName", "ErrImageNeverPull", "ImageInspectError"})
_FAILED_PULL = frozenset({"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"})
_FAILED_START = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError"}
)

_PULL = {"always": "Always", "missing": "IfNotPresent", "never": "Never"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PodState:
    """How a pod stands. `message` says why it waits or has ended; `hopeless`: it never will."""

    running: bool = False
    ended: bool = False
    hopeless: bool = False
    pulling_failed: bool = False
    message: str = ""


def selector(deployment_id: str) -> str:
    """Return what selects a deployment's objects. ValueError where the id can be no label."""
    if not _LABEL_VALUE.match(deployment_id):
        raise ValueError(f"{deployment_id!r} can be no label in Kubernetes")
    return f"{LABEL}={deployment_id}"


def job(
    name: str, needs: Needs, settings: KubernetesSettings, *, suspended: bool
) -> dict[str, Any]:
    """Return the Job of a deployment. With `suspended` it waits until it is let go."""
    labels = {
        "app.kubernetes.io/name": "reconciler",
        "app.kubernetes.io/component": "deployment",
        LABEL: needs.deployment_id,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "suspend": suspended,
            "parallelism": 1,
            "completions": 1,
            "backoffLimit": 0,
            "activeDeadlineSeconds": int(settings.deadline.total_seconds()),
            "ttlSecondsAfterFinished": KEPT_AFTER_END_S,
            "template": {
                "metadata": {"labels": labels},
                "spec": _pod(name, needs, settings),
            },
        },
    }


def pull_secret(name: str, job_uid: str, image: Image) -> dict[str, Any]:
    """Return the registry's credentials, as the kubelet takes them; they go with the Job."""
    registry = _registry(image.reference)
    word = base64.b64encode(f"{image.user_name}:{image.password}".encode()).decode()
    entry = {"username": image.user_name, "password": image.password, "auth": word}
    content = json.dumps({"auths": {registry: entry}})
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job_uid}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": name, "ownerReferences": [owner]},
        "data": {".dockerconfigjson": base64.b64encode(content.encode()).decode()},
    }


def mounts_of(needs: Needs, settings: KubernetesSettings) -> dict[Path, str]:
    """Return which directories the pod has: each with its path in the volume, or empty.

    Empty is a directory of the pod's own. ValueError, in words for a log, where a directory
    holds what must not be lost and the pod would not see it.
    """
    around = needs.surroundings
    found: dict[Path, str] = {}
    for path in dict.fromkeys((around.workspace, *around.writable)):
        if settings.volume is not None and path.is_relative_to(settings.volume.path):
            found[path] = str(path.relative_to(settings.volume.path))
        elif path == around.workspace or path in around.caches:
            found[path] = ""
        else:
            raise ValueError(
                f"{path} is on the engine's own disk, and a pod does not see it: keep the state "
                "in a backend that is not file:// (s3://, azblob://, gs://, postgres://), or put "
                "the engine's data on a volume and name it by `--kubernetes-volume`"
            )
    return found


def pod_state(pod: Mapping[str, Any]) -> PodState:
    """Return how the pod stands, in the kubelet's and the scheduler's words."""
    status = pod.get("status") or {}
    phase = status.get("phase")
    if phase in {"Failed", "Succeeded"}:
        return PodState(ended=True, message=_end(status))
    for container in (status.get("containerStatuses") or ())[:1]:
        state = container.get("state") or {}
        if "running" in state:
            gone = "deletionTimestamp" in (pod.get("metadata") or {})
            return PodState(running=not gone, message="the pod is being deleted" if gone else "")
        if "terminated" in state:
            return PodState(ended=True, message=_end(status))
        waiting = state.get("waiting") or {}
        reason, message = str(waiting.get("reason", "")), str(waiting.get("message", ""))
        text = f"{reason}: {message}" if message else reason
        return PodState(
            hopeless=reason in _HOPELESS | _FAILED_START,
            pulling_failed=reason in _FAILED_PULL,
            message=text,
        )
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return PodState(message=f"{condition.get('reason')}: {condition.get('message', '')}")
    return PodState(message=str(status.get("message") or ""))


def _end(status: Mapping[str, Any]) -> str:
    """Say why a pod has ended."""
    parts = [str(status[key]) for key in ("reason", "message") if status.get(key)]
    for container in (status.get("containerStatuses") or ())[:1]:
        ended = (container.get("state") or {}).get("terminated") or {}
        reason, code = ended.get("reason"), ended.get("exitCode")
        if reason == "OOMKilled":
            parts.append("OOMKilled: it needed more memory than it may have")
        elif reason and not parts:
            parts.append(f"{reason} (exit code {code})")
        if ended.get("message"):
            parts.append(str(ended["message"]))
    return ": ".join(parts) or "it ended"


def _pod(name: str, needs: Needs, settings: KubernetesSettings) -> dict[str, Any]:
    volumes, mounts = _volumes(needs, settings)
    limits = {"cpu": settings.cpu}
    if needs.limits.memory_bytes:
        limits["memory"] = str(needs.limits.memory_bytes)
    if needs.limits.disk_bytes:
        limits["ephemeral-storage"] = str(needs.limits.disk_bytes)
    # What is not asked for is as much as the limit, which few nodes have to give.
    requests = {
        "cpu": settings.request_cpu,
        "memory": settings.request_memory,
        "ephemeral-storage": settings.request_disk,
    }
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": needs.image.reference or settings.image,
        "imagePullPolicy": _PULL[settings.pull],
        "command": ["sh", "-c", KEEP],
        "resources": {"limits": limits, "requests": requests},
        "volumeMounts": mounts,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    security: dict[str, Any] = {"seccompProfile": {"type": "RuntimeDefault"}}
    if settings.user is not None:
        security |= {"runAsUser": settings.user, "runAsGroup": settings.user}
        if settings.user:
            security |= {"runAsNonRoot": True, "fsGroup": settings.user}
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": int(settings.grace.total_seconds()),
        "enableServiceLinks": False,
        "automountServiceAccountToken": bool(settings.service_account),
        "securityContext": security,
        "containers": [container],
        "volumes": volumes,
    }
    if settings.service_account:
        pod["serviceAccountName"] = settings.service_account
    if needs.image.user_name:
        pod["imagePullSecrets"] = [{"name": name}]
    return pod


def _volumes(needs: Needs, settings: KubernetesSettings) -> tuple[list[Any], list[Any]]:
    disk = needs.limits.disk_bytes
    own: dict[str, Any] = {"sizeLimit": str(disk)} if disk else {}
    memory = {"medium": "Memory", "sizeLimit": str(BOX_BYTES)}
    volumes: list[Any] = [
        {"name": "box", "emptyDir": memory},
        {"name": "own", "emptyDir": own},
    ]
    mounts: list[Any] = [
        {"name": "box", "mountPath": BOX},
        {"name": "own", "mountPath": OUTPUT, "subPath": "output"},
    ]
    for number, (path, within) in enumerate(mounts_of(needs, settings).items()):
        where = {"name": "volume", "subPath": within} if within else {"name": "own"}
        part = {} if within else {"subPath": f"part-{number}"}
        mounts.append({**where, **part, "mountPath": str(path)})
    if settings.volume is not None:
        volume = settings.volume
        kind: dict[str, Any] = (
            {"persistentVolumeClaim": {"claimName": volume.claim}}
            if volume.claim
            else {"hostPath": {"path": str(volume.path), "type": "Directory"}}
        )
        volumes.append({"name": "volume", **kind})
    return volumes, mounts


def _registry(reference: str) -> str:
    """Return the registry of an image, as a list of credentials names it."""
    first, slash, _ = reference.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first
    return "https://index.docker.io/v1/"
