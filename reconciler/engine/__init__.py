"""A self-hosted server of the Pulumi Deployments API that really runs the Pulumi CLI."""
