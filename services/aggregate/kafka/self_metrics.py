"""Metrics of the aggregator about itself. What it counts is in `exposition`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class SelfMetrics:
    """Counters and histograms, registered once."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.processing = Histogram(
            "fanpulse_processing_seconds",
            "Time to decode and count one record of the log.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.flush = Histogram(
            "fanpulse_flush_seconds",
            "Time of one transaction: encode, send, commit.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.stored_entries = Counter(
            "fanpulse_stored_entries", "Entries written to engagement.totals.v1.", registry=registry
        )
        self.stale_records = Counter(
            "fanpulse_stale_records",
            "Times that records were left out since the log has others before them; they come again.",
            registry=registry,
        )
        self.surplus_records = Gauge(
            "fanpulse_surplus_records",
            "Records in partitions that were added after the stream began: nobody counts them.",
            registry=registry,
        )
        self.wrong_topic_settings = Gauge(
            "fanpulse_wrong_topic_settings",
            "Settings of the topics of events and totals with which the broker would remove what is needed.",
            registry=registry,
        )
        self.fenced = Counter(
            "fanpulse_fenced", "Partitions lost to another worker in a transaction.", registry=registry
        )
