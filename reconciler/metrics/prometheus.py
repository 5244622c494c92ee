"""Keeps the numbers and writes them in Prometheus's text format. The one user of its client.

A registry of its own, made when there is an address to serve it at: nothing here is shared by
two of them, and without one the client is not even loaded.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.process_collector import ProcessCollector

from reconciler.metrics import Kind, Look, Measure, Reading

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

__all__ = ["BUILD_INFO", "CONTENT_TYPE", "Registry"]

_log = logging.getLogger(__name__)

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
BUILD_INFO = "reconciler_build_info"


class Registry:
    """A `Meter` that remembers; `text` is what a scrape is given."""

    def __init__(self, measures: Iterable[Measure], version: str) -> None:
        registry = CollectorRegistry(auto_describe=False)
        self._registry = registry
        self._scraping = threading.Lock()
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        gauges = []
        for measure in measures:
            names = tuple(label.name for label in measure.labels)
            if measure.kind is Kind.GAUGE:
                gauges.append(measure)
            elif measure.kind is Kind.COUNTER:
                counter = Counter(measure.name, measure.about, names, registry=registry)
                self._counters[measure.name] = counter
            else:
                self._histograms[measure.name] = Histogram(
                    measure.name, measure.about, names, registry=registry, buckets=measure.buckets
                )
            for values in measure.shown_at_once if names else ():
                self._of(measure).labels(*values)
        self._gauges = _Asked(tuple(gauges))
        registry.register(self._gauges)
        ProcessCollector(registry=registry)
        about = "The version that runs; always 1."
        Gauge(BUILD_INFO, about, ("version",), registry=registry).labels(version).set(1)

    def count(self, measure: Measure, *labels: str, by: float = 1.0) -> None:
        """Add to a counter."""
        counter = self._counters[measure.name]
        (counter.labels(*labels) if labels else counter).inc(by)

    def observe(self, measure: Measure, value: float, *labels: str) -> None:
        """Add a value to a histogram; one below 0, after a clock was set back, counts as 0."""
        histogram = self._histograms[measure.name]
        (histogram.labels(*labels) if labels else histogram).observe(max(value, 0.0))

    @contextmanager
    def timed(self, measure: Measure, *labels: str) -> Iterator[None]:
        """Add the seconds that a block takes to a histogram, also where it breaks."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.observe(measure, time.perf_counter() - begun, *labels)

    def ask(self, look: Look) -> None:
        """Have this asked at each scrape."""
        self._gauges.looks += (look,)

    def text(self) -> bytes:
        """Return everything as it is now; one scrape at a time."""
        with self._scraping:
            return generate_latest(_Plain(self._registry))

    def _of(self, measure: Measure) -> Counter | Histogram:
        return self._counters.get(measure.name) or self._histograms[measure.name]


class _Asked:
    """The gauges, whose values are asked for at each scrape."""

    def __init__(self, measures: tuple[Measure, ...]) -> None:
        self._measures = measures
        self.looks: tuple[Look, ...] = ()

    def collect(self) -> Iterator[Metric]:
        """Yield what there is; what cannot be asked for now is left out, and the rest told."""
        families = {m.name: _family(m) for m in self._measures}
        for look in self.looks:
            for reading in _answers(look):
                families[reading.measure.name].add_metric(reading.labels, reading.value)
        yield from families.values()


def _answers(look: Look) -> Iterator[Reading]:
    try:
        yield from look()
    except Exception as error:  # noqa: BLE001 - the other metrics are told all the same
        _log.warning("some metrics are left out of this scrape: %s", error)


def _family(measure: Measure) -> GaugeMetricFamily:
    names = tuple(label.name for label in measure.labels)
    return GaugeMetricFamily(measure.name, measure.about, labels=names)


class _Plain:
    """A registry without the times at which its series were made, which double their number."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        for metric in self._registry.collect():
            metric.samples = [s for s in metric.samples if not s.name.endswith("_created")]
            yield metric
