"""The options that say how deployments are run and what bounds them: the engine's, wherever it is.

They are the same for `engine serve` and for the engine that `run` starts by itself.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Importing the engine takes longer than `--help` may.
    from reconciler.engine.config import Containers, Limits

__all__ = ["add", "arguments", "containers", "limits"]

_UNITS = {"": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}

_MOST_PROCESSES = 1024
_MOST_MEMORY = "4GiB"
_MOST_DISK = "10GiB"
_DEFAULT_IMAGE = "pulumi/pulumi"
_PULL_LIMIT_S = 15 * 60


def add(parser: argparse._ActionsContainer, duration: Callable[[str], timedelta]) -> None:
    """Add the options; `duration` reads one."""
    parser.add_argument(
        "--runner",
        choices=("bubblewrap", "container", "kubernetes", "process"),
        help="default: bubblewrap where it works, else process (for programs you trust)",
    )
    parser.add_argument(
        "--images",
        choices=("use", "ignore", "refuse"),
        default="use",
        help="what becomes of an executorImage; default: use it, by podman or docker",
    )
    parser.add_argument(
        "--default-image",
        default=_DEFAULT_IMAGE,
        metavar="IMAGE",
        help="of container and kubernetes, where none is asked; default: %(default)s",
    )
    parser.add_argument(
        "--image-pull",
        choices=("always", "missing", "never"),
        default="always",
        help="when an image is fetched; default: %(default)s",
    )
    parser.add_argument(
        "--pull-limit",
        type=duration,
        default=timedelta(seconds=_PULL_LIMIT_S),
        metavar="TIME",
        help="how long fetching an image may take; default: 15m",
    )
    parser.add_argument(
        "--container-network",
        default="",
        metavar="NAME",
        help="podman's or docker's network for containers; default: their own default",
    )
    _add_limits(parser)


def _add_limits(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--max-processes",
        type=_number,
        default=_MOST_PROCESSES,
        metavar="N",
        help="of one deployment at once; 0: no limit; default: %(default)s",
    )
    parser.add_argument(
        "--max-memory",
        type=_size,
        default=_size(_MOST_MEMORY),
        metavar="SIZE",
        help=f"of one deployment, such as 512MiB; 0: no limit; default: {_MOST_MEMORY}",
    )
    parser.add_argument(
        "--max-disk",
        type=_size,
        default=_size(_MOST_DISK),
        metavar="SIZE",
        help=f"of one deployment's workspace; 0: no limit; default: {_MOST_DISK}",
    )


def arguments(options: argparse.Namespace) -> Iterator[str]:
    """Yield the options that are not as they would be by themselves, as arguments."""
    fresh = argparse.ArgumentParser()
    add(fresh, lambda text: timedelta(seconds=float(text.removesuffix("s"))))
    defaults = fresh.parse_args([])
    for name, default in vars(defaults).items():
        value = getattr(options, name)
        if value != default:
            if isinstance(value, timedelta):
                value = f"{int(value.total_seconds())}s"
            yield from (f"--{name.replace('_', '-')}", str(value))


def limits(options: argparse.Namespace) -> Limits:
    """Return what bounds each deployment."""
    from reconciler.engine.config import Limits  # noqa: PLC0415 - see above

    return Limits(
        processes=options.max_processes,
        memory_bytes=options.max_memory,
        disk_bytes=options.max_disk,
    )


def containers(options: argparse.Namespace) -> Containers:
    """Return how containers are made; ArgumentTypeError where the default image is no name."""
    from reconciler.engine.config import Containers  # noqa: PLC0415 - see above

    return Containers(
        images=options.images,
        default_image=options.default_image,
        pull=options.image_pull,
        pull_limit=options.pull_limit,
        network=options.container_network,
    )


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, such as 1024")
    return int(text)


def _size(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,15})([KMGT]iB)?", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; give one such as 512MiB or 4GiB")
    return int(match[1]) * _UNITS[match[2] or ""]
