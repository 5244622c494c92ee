"""`reconciler engine serve`: the self-hosted server."""

from __future__ import annotations

import argparse
import os
from ipaddress import ip_address
from pathlib import Path

from reconciler.adapters.state_directory import locate
from reconciler.cli import listen_options, runner_options, source_options
from reconciler.errors import UsageError

__all__ = ["data_directory", "run"]


def run(options: argparse.Namespace) -> int:
    """Serve."""
    from reconciler.engine import server  # noqa: PLC0415 - costs 300 ms
    from reconciler.engine.config import EngineConfig  # noqa: PLC0415 - the same

    host, port = _listen(options.listen)
    defaults = EngineConfig(data=data_directory(options))
    return server.serve(
        EngineConfig(
            data=defaults.data,
            host=host,
            port=port,
            runner=options.runner,
            workers=options.workers or defaults.workers,
            limits=runner_options.limits(options),
            containers=runner_options.containers(options),
            cancel_grace=options.cancel_grace,
            local_repositories=options.local_repositories or _is_loopback(host),
            allow_write=tuple(p.absolute() for p in options.allow_write),
            hide=tuple(p.absolute() for p in options.hide),
            backend=options.backend,
            key_file=options.key_file,
            public_url=options.public_url,
            aws_sts_url=options.aws_sts_url,
            sources=source_options.settings(options),
            failed_logins=options.failed_logins or defaults.failed_logins,
            trusted_proxies=tuple(options.trusted_proxy),
            keep_audit=options.keep_audit or defaults.keep_audit,
            tls=listen_options.tls_files(options),
            insecure_listen=options.insecure_listen,
            embedded=options.embedded,
        )
    )


def data_directory(options: argparse.Namespace) -> Path:
    """Return where the engine's data is: `--data`, else `engine` in the state directory."""
    data: Path | None = options.data
    return data if data is not None else locate(None, os.environ) / "engine"


def _listen(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:  # noqa: PLR2004 - TCP's
        raise UsageError(f"--listen {text!r} is not HOST:PORT, such as 127.0.0.1:8080")
    return host.strip("[]"), int(port)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
