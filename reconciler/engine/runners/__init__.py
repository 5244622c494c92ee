"""How a deployment's programs are started, and how the whole tree of them is ended."""
