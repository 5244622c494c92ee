"""Measures, as ratios in one run: `make bench`, or `make bench WHAT="deployments http"`.

Machines differ and are noisy, so nothing here is a test. Each figure stands beside a baseline
that was measured in turn with it, as the median of several rounds.
"""
