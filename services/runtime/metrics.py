"""Prometheus registries that know their namespace, and how a registry is written out.

Each service makes one registry of its own and registers its metrics there; the client library's global
registry is not used, so two services in one process (as in tests) never meet.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder, generate_latest
from prometheus_client.registry import Collector

#: Label that tells the streams of one Prometheus apart; absent when the namespace is empty.
NAMESPACE_LABEL = "namespace"

_WITH_CREATED = frozenset({"counter", "histogram", "summary", "gaugehistogram"})


@dataclass(slots=True, eq=False)
class Series:
    """A series that is exposed again and again. Its line is written by the client library once, and after
    that only its value changes; writing it out anew takes some thirty times as long."""

    name: str
    labels: dict[str, str]
    line_start: str = ""  # kept by the registry


@dataclass
class Family:
    """A metric family made of kept series, each with its value."""

    name: str
    documentation: str
    type: str  # "counter" or "gauge"
    points: list[tuple[Series, int]] = field(default_factory=list)

    def metric(self) -> Metric:
        """As the client library knows it."""
        metric = Metric(self.name, self.documentation, self.type)
        for series, value in self.points:
            metric.add_sample(series.name, series.labels, value)
        return metric


class SeriesCollector(Collector):
    """A collector with so many series that it keeps them from one scrape to the next."""

    @abstractmethod
    def families(self) -> Iterable[Family]:
        """All families, with current values."""

    def collect(self) -> Iterator[Metric]:
        """The same in the client library's form, for registries of its own kind."""
        return (family.metric() for family in self.families())


class NamespacedRegistry(CollectorRegistry):
    """A registry that adds the label ``namespace`` to every sample it hands out, if there is a namespace.

    Metrics are declared without the label, so the code that counts does not know of it. A sample that has
    the label already keeps its own. The ``_created`` samples of the client library are left out: they would
    double the number of series, and Prometheus does not need them to see a restart.
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
        """The metrics of all collectors but those of kept series, labelled."""
        return self._labelled(super().collect())

    def _labelled(self, metrics: Iterable[Metric]) -> Iterator[Metric]:
        extra = {NAMESPACE_LABEL: self.namespace} if self.namespace else {}
        for metric in metrics:
            # A copy: a collector may hand out the same object at every scrape.
            copy = Metric(metric.name, metric.documentation, metric.type, metric.unit)
            samples = metric.samples
            if metric.type in _WITH_CREATED:
                samples = [sample for sample in samples if not sample.name.endswith("_created")]
            if extra:
                samples = [sample._replace(labels=extra | sample.labels) for sample in samples]
            copy.samples = list(samples)
            yield copy

    def lines(self, encode: Callable[[CollectorRegistry], bytes]) -> Iterator[str]:
        """What the collectors of kept series have to say, without line ends."""
        for collector in self.series_collectors:
            for family in collector.families():
                self._begin_lines(family)
                yield from _encoded(encode, Metric(family.name, family.documentation, family.type))
                yield from [series.line_start + str(value) for series, value in family.points]

    def _begin_lines(self, family: Family) -> None:
        """Have the library write the lines of series that are new."""
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
    """A registry of one metric, to have that written out."""

    def __init__(self, metric: Metric) -> None:
        super().__init__()
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        yield self._metric


def _encoded(encode: Callable[[CollectorRegistry], bytes], metric: Metric) -> list[str]:
    text = encode(_Single(metric)).decode()
    # Not splitlines: a label may hold what that takes for the end of a line, as U+2028.
    return text.removesuffix("# EOF\n").removesuffix("\n").split("\n")


def expose(registry: CollectorRegistry, accept: str = "") -> tuple[bytes, str]:
    """The registry as text, and its content type: OpenMetrics if ``accept`` (the header) asks for it.

    Collectors run in the caller's thread, so state that belongs to an event loop may be read when this is
    called from that loop.
    """
    encode, content_type = choose_encoder(accept)
    body = encode(registry)
    if isinstance(registry, NamespacedRegistry) and registry.series_collectors:
        kept = "\n".join([*registry.lines(encode), ""]).encode()
        end = b"# EOF\n" if body.endswith(b"# EOF\n") else b""
        body = body.removesuffix(end) + kept + end
    return body, content_type
