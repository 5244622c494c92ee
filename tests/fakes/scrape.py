"""Reads metrics as a Prometheus does."""

from __future__ import annotations

import requests
from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Scrape", "scrape"]


class Scrape:
    """What one scrape was told."""

    def __init__(self, text: str) -> None:
        self.text = text
        families = tuple(text_string_to_metric_families(text))
        self.types = {family.name: family.type for family in families}
        self.samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }

    def get(self, name: str, **labels: str) -> float:
        """Return a sample's value."""
        return self.samples[name, frozenset(labels.items())]

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of the samples that have these labels, among others."""
        wanted = frozenset(labels.items())
        return sum(v for (found, has), v in self.samples.items() if found == name and wanted <= has)


def scrape(url: str) -> Scrape:
    """Ask an address for its metrics."""
    answer = requests.get(url, timeout=30)
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return Scrape(answer.text)
