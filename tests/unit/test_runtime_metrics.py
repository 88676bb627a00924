"""Registries with a namespace, and their text form."""

from __future__ import annotations

import pytest
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from services.runtime.metrics import NamespacedRegistry, expose


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
    assert all(
        labels["namespace"] == "demo"
        for part in ("bucket", "sum", "count")
        for labels in found[f"c_seconds_{part}"]
    )


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
