"""Prometheus registries that know their namespace, and their text form.

Each service makes its own registry and registers its metrics there. The client library's global registry is
not used, so two services in one process (as in tests) share nothing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder, generate_latest
from prometheus_client.registry import Collector

#: The label that distinguishes the streams in one Prometheus; absent if the namespace is empty.
NAMESPACE_LABEL = "namespace"

_WITH_CREATED = frozenset({"counter", "histogram", "summary", "gaugehistogram"})


@dataclass(slots=True, eq=False)
class Series:
    """A series with a cached line. The client library formats the line once; after that only its value
    changes. Formatting it at each scrape takes about thirty times as long."""

    name: str
    labels: dict[str, str]
    line_start: str = ""  # set by the registry


@dataclass
class Family:
    """A metric family of cached series, each with its value."""

    name: str
    documentation: str
    type: str  # "counter" or "gauge"
    points: list[tuple[Series, int]] = field(default_factory=list)

    def metric(self) -> Metric:
        """The family as an object of the client library."""
        metric = Metric(self.name, self.documentation, self.type)
        for series, value in self.points:
            metric.add_sample(series.name, series.labels, value)
        return metric


class SeriesCollector(Collector):
    """A collector with so many series that it caches them between scrapes."""

    @abstractmethod
    def families(self) -> Iterable[Family]:
        """All families, with current values."""

    def collect(self) -> Iterator[Metric]:
        """The same families as objects of the client library, for a plain registry."""
        return (family.metric() for family in self.families())


class NamespacedRegistry(CollectorRegistry):
    """A registry that adds the label ``namespace`` to every sample, if there is a namespace.

    Metrics are declared without the label, so the code that counts does not know it. A sample that already
    has the label keeps it. The registry drops the ``_created`` samples of the client library: they double the
    number of series, and Prometheus detects a restart without them.
    """

    def __init__(self, namespace: str = "") -> None:
        super().__init__(auto_describe=False)
        self.namespace = namespace
        self.series_collectors: list[SeriesCollector] = []

    def register(self, collector: Collector) -> None:
        """Add a collector."""
        if isinstance(collector, SeriesCollector):
            self.series_collectors.append(collector)
        else:
            super().register(collector)

    def collect(self) -> Iterator[Metric]:
        """The labelled metrics of all collectors except those of cached series."""
        return self._labelled(super().collect())

    def _labelled(self, metrics: Iterable[Metric]) -> Iterator[Metric]:
        extra = {NAMESPACE_LABEL: self.namespace} if self.namespace else {}
        for metric in metrics:
            # A copy, since a collector may return the same object at every scrape.
            copy = Metric(metric.name, metric.documentation, metric.type, metric.unit)
            samples = metric.samples
            if metric.type in _WITH_CREATED:
                samples = [sample for sample in samples if not sample.name.endswith("_created")]
            if extra:
                samples = [sample._replace(labels=extra | sample.labels) for sample in samples]
            copy.samples = list(samples)
            yield copy

    def lines(self, encode: Callable[[CollectorRegistry], bytes]) -> Iterator[str]:
        """The lines of the collectors with cached series, without line ends."""
        for collector in self.series_collectors:
            for family in collector.families():
                self._begin_lines(family)
                yield from _encoded(encode, Metric(family.name, family.documentation, family.type))
                yield from [series.line_start + str(value) for series, value in family.points]

    def _begin_lines(self, family: Family) -> None:
        """Let the library format the lines of new series."""
        new = [series for series, _ in family.points if not series.line_start]
        if not new:
            return
        metric = Metric(family.name, family.documentation, family.type)
        for series in new:
            metric.add_sample(series.name, series.labels, 0)
        [labelled] = self._labelled([metric])
        lines = [line for line in _encoded(generate_latest, labelled) if not line.startswith("#")]
        for series, line in zip(new, lines, strict=True):
            series.line_start = line.removesuffix("0.0")


class _Single(CollectorRegistry):
    """A registry of one metric, for the library to encode."""

    def __init__(self, metric: Metric) -> None:
        super().__init__()
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        yield self._metric


def _encoded(encode: Callable[[CollectorRegistry], bytes], metric: Metric) -> list[str]:
    text = encode(_Single(metric)).decode()
    # Not splitlines: a label may contain other line ends, such as U+2028.
    return text.removesuffix("# EOF\n").removesuffix("\n").split("\n")


def expose(registry: CollectorRegistry, accept: str = "") -> tuple[bytes, str]:
    """The registry as text, and its content type: OpenMetrics if the Accept header ``accept`` asks for it.

    Collectors run in the caller's thread. Call this from an event loop if they read state of that loop.
    """
    encode, content_type = choose_encoder(accept)
    body = encode(registry)
    if isinstance(registry, NamespacedRegistry) and registry.series_collectors:
        kept = "\n".join([*registry.lines(encode), ""]).encode()
        end = b"# EOF\n" if body.endswith(b"# EOF\n") else b""
        body = body.removesuffix(end) + kept + end
    return body, content_type
