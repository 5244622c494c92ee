"""The host's config, as the options name it, and the rules for secrets that follow from it."""

from __future__ import annotations

import argparse

from reconciler.adapters.credentials import SecretRules
from reconciler.adapters.host_config import HostConfig, load

__all__ = ["config", "rules"]


def config(options: argparse.Namespace) -> HostConfig:
    """Read it; UsageError where it has mistakes or is not to be believed."""
    return load(options.config)


def rules(options: argparse.Namespace, config: HostConfig) -> SecretRules:
    """Return which secrets specs may name here."""
    return SecretRules(
        secrets_dir=tuple(p.absolute() for p in options.secrets_dir),
        environment=config.environment,
        more_folders=config.folders,
        commands=config.commands,
    )
