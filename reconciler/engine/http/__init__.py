"""The HTTP face of the engine, a module of routes an area."""
