"""`reconciler engine serve`: the self-hosted server."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.adapters.state_directory import locate
from reconciler.addresses import is_loopback, parse
from reconciler.cli import kubernetes_options, listen_options, runner_options, source_options
from reconciler.cli.engine_database import database_of
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.engine.config import EngineConfig

__all__ = ["data_directory", "run"]


def run(options: argparse.Namespace) -> int:
    """Serve, or work for those who serve."""
    return _work(options) if options.verb == "worker" else _serve(options)


def _serve(options: argparse.Namespace) -> int:
    from reconciler.engine import server  # noqa: PLC0415 - costs 300 ms
    from reconciler.engine.http.app import Pages, no_pages  # noqa: PLC0415 - the same

    host, port = parse(options.listen, "--listen", "127.0.0.1:8080", names=True)
    config = _config(options)
    # An engine on loopback that has an address for others, or a proxy before it, serves them too.
    alone = is_loopback(host) and not (options.public_url or options.trusted_proxy)
    if config.workers == 0 and config.database is None:
        raise UsageError("--workers 0 leaves the work to others: give --database URL")
    pages: Pages = no_pages
    if not options.embedded:
        from reconciler.cli import console_stacks  # noqa: PLC0415 - costs 50 ms

        pages = console_stacks.pages

    return server.serve(
        replace(
            config,
            host=host,
            port=port,
            local_repositories=config.local_repositories or alone,
            failed_logins=options.failed_logins or config.failed_logins,
            trusted_proxies=tuple(options.trusted_proxy),
            keep_audit=options.keep_audit or config.keep_audit,
            tls=listen_options.tls_files(options),
            insecure_listen=options.insecure_listen,
            embedded=options.embedded,
        ),
        pages,
    )


def _work(options: argparse.Namespace) -> int:
    from reconciler.engine import server  # noqa: PLC0415 - costs 300 ms

    config = _config(options)
    if config.workers == 0:
        raise UsageError("a worker runs at least one deployment at once: give --workers 1 or more")
    return server.work(config)


def _config(options: argparse.Namespace) -> EngineConfig:
    """Return what servers and workers have in common."""
    from reconciler.engine.config import EngineConfig, KeepLogs  # noqa: PLC0415 - costs 300 ms

    defaults = EngineConfig(data=data_directory(options))
    return replace(
        defaults,
        runner=options.runner,
        workers=defaults.workers if options.workers is None else options.workers,
        limits=runner_options.limits(options),
        containers=runner_options.containers(options),
        most_per_organization=options.per_organization,
        cancel_grace=options.cancel_grace,
        allow_write=tuple(p.absolute() for p in options.allow_write),
        hide=tuple(p.absolute() for p in options.hide),
        backend=options.backend,
        key_file=options.key_file,
        local_repositories=options.local_repositories,
        public_url=options.public_url,
        aws_sts_url=options.aws_sts_url,
        sources=source_options.settings(options),
        kubernetes=kubernetes_options.settings(options),
        database=database_of(options),
        metrics=options.metrics,
        traces=options.traces,
        keep_logs=KeepLogs(age=options.keep_logs, size_bytes=options.keep_logs_size * 1024**3),
    )


def data_directory(options: argparse.Namespace) -> Path:
    """Return where the engine's data is: `--data`, else `engine` in the state directory."""
    data: Path | None = options.data
    return data if data is not None else locate(None, os.environ) / "engine"
