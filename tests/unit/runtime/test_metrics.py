"""Registries with a namespace, and their text form."""

from __future__ import annotations

import pytest
from prometheus_client import Counter, Gauge, Histogram, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from services.runtime.metrics import Family, NamespacedRegistry, Series, SeriesCollector, expose


def samples(registry: NamespacedRegistry) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(expose(registry)[0].decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


def test_every_sample_gets_the_namespace() -> None:
    """Counters, gauges and every part of a histogram carry the label, which the declarations do not have."""
    registry = NamespacedRegistry("demo")
    Counter("a_total", "a", ["x"], registry=registry).labels("1").inc()
    Gauge("b", "b", registry=registry).set(2)
    Histogram("c_seconds", "c", registry=registry).observe(0.1)
    found = samples(registry)
    assert found["a_total"] == [{"x": "1", "namespace": "demo"}]
    assert found["b"] == [{"namespace": "demo"}]
    assert found.keys() == {"a_total", "b", "c_seconds_bucket", "c_seconds_sum", "c_seconds_count"}
    assert {labels["namespace"] for each in found.values() for labels in each} == {"demo"}
    assert len(found["c_seconds_bucket"]) > 1


def test_without_a_namespace_there_is_no_label() -> None:
    """An empty namespace is not a label with an empty value."""
    registry = NamespacedRegistry()
    Gauge("b", "b", registry=registry).set(2)
    assert samples(registry)["b"] == [{}]


def test_creation_times_are_left_out() -> None:
    """A counter is one series, not two."""
    registry = NamespacedRegistry()
    Counter("a_total", "a", registry=registry).inc()
    assert list(samples(registry)) == ["a_total"]


def test_a_collector_that_keeps_its_metric_is_not_changed() -> None:
    """The label goes to a copy: scraping twice gives the same, and the collector's object is as before."""
    family = GaugeMetricFamily("kept", "kept", labels=["x"])
    family.add_metric(["1"], 1.0)

    class Collector:
        def collect(self) -> list[GaugeMetricFamily]:
            return [family]

    registry = NamespacedRegistry("demo")
    registry.register(Collector())
    assert expose(registry) == expose(registry)
    assert family.samples[0].labels == {"x": "1"}


@pytest.mark.parametrize(
    ("accept", "content_type", "end"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8", b"b 2.0\n"),
        (
            "application/openmetrics-text; version=1.0.0",
            "application/openmetrics-text; version=1.0.0",
            b"# EOF\n",
        ),
    ],
)
def test_the_form_follows_the_accept_header(accept: str, content_type: str, end: bytes) -> None:
    """OpenMetrics for those who ask for it, the classic text for everybody else."""
    registry = NamespacedRegistry()
    Gauge("b", "b", registry=registry).set(2)
    body, given = expose(registry, accept)
    assert given.startswith(content_type)
    assert body.endswith(end)


class Kept(SeriesCollector):
    """Two families whose series outlive a scrape; every scrape counts one more."""

    def __init__(self) -> None:
        self.scrapes = 0
        tags = ('a"b\\c', "敦煌", "x\ny", "x\u2028y\x85z")
        self.likes = [Series("likes_total", {"tag": tag, "partition": "0"}) for tag in tags]
        self.recent = Series("recent", {})

    def families(self) -> list[Family]:
        self.scrapes += 1
        points = [(series, self.scrapes * 10 + index) for index, series in enumerate(self.likes)]
        return [
            Family("likes", "How many likes.", "counter", points),
            Family("recent", "Likes of late.", "gauge", [(self.recent, self.scrapes)]),
        ]


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
def test_kept_series_are_written_as_the_library_writes_them(accept: str) -> None:
    """Names, labels, values and headers are the same as through a plain collector, at every scrape."""
    fast, slow = NamespacedRegistry("demo"), NamespacedRegistry("demo")
    kept, twin = Kept(), Kept()

    class Plain:
        def collect(self) -> list[Metric]:
            return [family.metric() for family in twin.families()]

    fast.register(kept)
    slow.register(Plain())
    parse = openmetrics_families if accept else text_string_to_metric_families
    for _ in range(3):
        written, expected = (
            [
                (family.name, family.documentation, family.type, family.samples)
                for family in parse(expose(registry, accept)[0].decode())
            ]
            for registry in (fast, slow)
        )
        assert written == expected
    assert written[0][3][1].labels == {"tag": "敦煌", "partition": "0", "namespace": "demo"}
