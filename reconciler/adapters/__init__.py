"""The edges: one module for each thing that is touched, unaware of one another."""
