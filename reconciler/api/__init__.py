"""The Pulumi Deployments API: its words, its two dialects, and a client.

The reconciler speaks it as a client, the engine as a server; both use these types.
"""
