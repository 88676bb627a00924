"""Prometheus registries that know their namespace, and how a registry is written out.

Each service makes one registry of its own and registers its metrics there; the client library's global
registry is not used, so two services in one process (as in tests) never meet.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder

#: Label that tells the streams of one Prometheus apart; absent when the namespace is empty.
NAMESPACE_LABEL = "namespace"

_WITH_CREATED = frozenset({"counter", "histogram", "summary", "gaugehistogram"})


class NamespacedRegistry(CollectorRegistry):
    """A registry that adds the label ``namespace`` to every sample it hands out, if there is a namespace.

    Metrics are declared without the label, so the code that counts does not know of it. A sample that has
    the label already keeps its own. The ``_created`` samples of the client library are left out: they would
    double the number of series, and Prometheus does not need them to see a restart.
    """

    def __init__(self, namespace: str = "") -> None:
        super().__init__(auto_describe=False)
        self.namespace = namespace

    def collect(self) -> Iterator[Metric]:
        """The metrics of all collectors, labelled."""
        extra = {NAMESPACE_LABEL: self.namespace} if self.namespace else {}
        for metric in super().collect():
            # A copy: a collector may hand out the same object at every scrape.
            copy = Metric(metric.name, metric.documentation, metric.type, metric.unit)
            samples = metric.samples
            if metric.type in _WITH_CREATED:
                samples = [sample for sample in samples if not sample.name.endswith("_created")]
            if extra:
                samples = [sample._replace(labels=extra | sample.labels) for sample in samples]
            copy.samples = list(samples)
            yield copy


def expose(registry: CollectorRegistry, accept: str = "") -> tuple[bytes, str]:
    """The registry as text, and its content type: OpenMetrics if ``accept`` (the header) asks for it.

    Collectors run in the caller's thread, so state that belongs to an event loop may be read when this is
    called from that loop.
    """
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
