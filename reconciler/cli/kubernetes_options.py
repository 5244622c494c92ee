"""The engine's options about pods: added to a parser, and read from what it parsed."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.engine.kubernetes_settings import KubernetesSettings

    Options = argparse._ActionsContainer  # noqa: SLF001 - what a group of options is has no public name

__all__ = ["add", "settings"]

# What Kubernetes calls a quantity, without its rarer forms.
_QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?\Z", re.ASCII)
# What Kubernetes takes as the name of an object.
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\Z", re.ASCII)

_REQUESTS = ("cpu", "memory", "disk")


def add(parser: Options, duration: Callable[[str], timedelta]) -> None:
    """Add the options; `duration` reads a time."""
    _cluster(parser)
    _pods(parser)
    parser.add_argument(
        "--kubernetes-deadline",
        type=duration,
        default=timedelta(days=1),
        metavar="TIME",
        help="after which the cluster ends a deployment; default: 1d",
    )
    parser.add_argument(
        "--kubernetes-start-limit",
        type=duration,
        default=timedelta(minutes=10),
        metavar="TIME",
        help="how long a pod may take to run; default: 10m",
    )


def _cluster(parser: Options) -> None:
    parser.add_argument(
        "--kubernetes-config",
        type=Path,
        metavar="FILE",
        help="how the cluster is reached; default: as the pod that the engine is, else "
        "$KUBECONFIG or ~/.kube/config",
    )
    parser.add_argument(
        "--kubernetes-namespace",
        type=_name,
        metavar="NAME",
        help="where pods are made; default: the configuration's",
    )
    parser.add_argument(
        "--kubernetes-service-account",
        type=_name,
        metavar="NAME",
        help="whose token pods have; default: they have none",
    )


def _pods(parser: Options) -> None:
    parser.add_argument(
        "--kubernetes-cpu",
        type=_quantity,
        default="2",
        metavar="QUANTITY",
        help="the most processor time of a pod; default: %(default)s",
    )
    parser.add_argument(
        "--kubernetes-request",
        type=_requests,
        default={},
        metavar="cpu=…,memory=…,disk=…",
        help="what a node must have free for a pod; default: cpu=250m,memory=512Mi,disk=1Gi",
    )
    parser.add_argument(
        "--kubernetes-user",
        type=_user,
        metavar="ID",
        help="the user and group of pods, a number; default: the image's own",
    )
    parser.add_argument(
        "--kubernetes-volume",
        type=_volume,
        metavar="[CLAIM:]PATH",
        help="a volume that the engine has at PATH, a claim's or the node's own",
    )


def settings(options: argparse.Namespace) -> KubernetesSettings:
    """Return what the options say."""
    from reconciler.engine.kubernetes_settings import (  # noqa: PLC0415 - only where it is needed
        KubernetesSettings,
        KubernetesVolume,
    )

    usual = KubernetesSettings()
    asked = options.kubernetes_request
    volume = None
    if options.kubernetes_volume is not None:
        claim, path = options.kubernetes_volume
        volume = KubernetesVolume(path=path, claim=claim)
    return KubernetesSettings(
        config=str(options.kubernetes_config or ""),
        namespace=options.kubernetes_namespace or "",
        service_account=options.kubernetes_service_account or "",
        cpu=options.kubernetes_cpu,
        request_cpu=asked.get("cpu", usual.request_cpu),
        request_memory=asked.get("memory", usual.request_memory),
        request_disk=asked.get("disk", usual.request_disk),
        user=options.kubernetes_user,
        volume=volume,
        deadline=options.kubernetes_deadline,
        grace=options.cancel_grace,
        start_limit=options.kubernetes_start_limit,
    )


def _name(text: str) -> str:
    if not _NAME.match(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of an object in Kubernetes")
    return text


def _quantity(text: str) -> str:
    if not _QUANTITY.match(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no quantity; give one such as 500m or 2Gi")
    return text


def _requests(text: str) -> dict[str, str]:
    found = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        if name not in _REQUESTS:
            raise argparse.ArgumentTypeError(f"{part!r} is not one of cpu=…, memory=…, disk=…")
        found[name] = _quantity(value)
    return found


def _user(text: str) -> int:
    if not text.isdigit() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is no user id")
    return int(text)


def _volume(text: str) -> tuple[str, Path]:
    claim, colon, path = text.rpartition(":")
    if not Path(path).is_absolute() or (colon and not _NAME.match(claim)):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no volume; give /PATH of a node, or CLAIM:/PATH"
        )
    return claim, Path(path)
