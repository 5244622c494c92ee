"""What the runner of pods is told: where they are made, of what, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

__all__ = ["KubernetesSettings", "KubernetesVolume"]

# A pod that nobody ends: no operation that people wait for takes a day.
DEADLINE = timedelta(days=1)

# As long as an interrupted operation may take elsewhere: the longest single resource.
GRACE = timedelta(minutes=10)

# A large image from a slow registry, on a node that has yet to be made.
START_LIMIT = timedelta(minutes=10)

# How long deleted pods may take to go. A node that answers needs 2 s; one that does not is for
# a person, or the cluster's own controller after 5 minutes.
GONE_LIMIT = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesVolume:
    """A volume that the engine has at `path`: a claim's, or where it is empty a node's own."""

    path: Path
    claim: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesSettings:
    """What the kubernetes runner is told. An empty `config`, `namespace`: what is found here.

    `image` is for deployments that name none; `pull` is `always`, `missing` or `never`. `cpu`
    and what begins `request_` are Kubernetes quantities. `user` is the user id of the pods, or
    None for the image's own. After `deadline` the cluster ends a pod; it then has `grace` to end
    by itself. A pod that does not run after `start_limit` is given up; a deleted one has
    `gone_limit` to go.
    """

    config: str = ""
    namespace: str = ""
    service_account: str = ""
    image: str = "pulumi/pulumi"
    pull: str = "always"
    cpu: str = "2"
    request_cpu: str = "250m"
    request_memory: str = "512Mi"
    request_disk: str = "1Gi"
    user: int | None = None
    volume: KubernetesVolume | None = None
    deadline: timedelta = DEADLINE
    grace: timedelta = GRACE
    start_limit: timedelta = START_LIMIT
    gone_limit: timedelta = GONE_LIMIT
