"""What is right and wrong with a machine: facts that were found, and what to say of them. Pure."""

from reconciler.checkup.facts import (
    Clocks,
    Contact,
    Disk,
    Enclosed,
    Git,
    Kept,
    Pulumi,
    Sandbox,
    Specs,
    Watching,
)
from reconciler.checkup.findings import Finding, Level, count, worst

__all__ = [
    "Clocks",
    "Contact",
    "Disk",
    "Enclosed",
    "Finding",
    "Git",
    "Kept",
    "Level",
    "Pulumi",
    "Sandbox",
    "Specs",
    "Watching",
    "count",
    "worst",
]
