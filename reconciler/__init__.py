"""GitOps for Pulumi: deployment specs in YAML, made true through the Pulumi Deployments API.

Where to look first is said in `docs/architecture.md`.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
