"""A Job of Kubernetes for each deployment: its pod is the place of all its steps."""
