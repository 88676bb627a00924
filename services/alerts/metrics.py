"""The metrics of the alerts service."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.alerts.deciding.rules import Rules


class AlertsMetrics:
    """Each metric is described where it is made, and starts at 0."""

    def __init__(self, registry: CollectorRegistry, rules: Rules) -> None:
        self.decided = Counter(
            "fanpulse_alerts_decided_total",
            "Alerts written to engagement.alerts.v1, by kind and the rule that decided them.",
            ["kind", "rule"],
            registry=registry,
        )
        self.delivered = Counter(
            "fanpulse_alerts_delivered_total",
            "Alerts that a channel has taken. After a crash one may be delivered, and counted, again.",
            ["channel"],
            registry=registry,
        )
        self.suppressed = Counter(
            "fanpulse_alerts_suppressed_total",
            "Milestones not sent to a channel, because a higher one of their series was crossed with them.",
            ["channel"],
            registry=registry,
        )
        self.failures = Counter(
            "fanpulse_alerts_delivery_failures_total",
            "Alerts given up: the channel rejected them, or did not take them at any attempt.",
            ["channel"],
            registry=registry,
        )
        self.retries = Counter(
            "fanpulse_alerts_delivery_retries_total",
            "Attempts that failed and are followed by another.",
            ["channel"],
            registry=registry,
        )
        self.alert_log_size = Gauge(
            "fanpulse_alerts_alert_log_size",
            "Alerts on record: they are not decided again.",
            registry=registry,
        )
        self.unreadable = Counter(
            "fanpulse_alerts_unreadable_records_total",
            "Records of engagement.totals.v1 or engagement.alerts.v1 that cannot be read and are left out.",
            ["topic"],
            registry=registry,
        )
        self.lag_records = Gauge(
            "fanpulse_alerts_totals_lag_records",
            "Offsets of engagement.totals.v1 that are committed and not read yet, over all partitions.",
            registry=registry,
        )
        self.lag_seconds = Gauge(
            "fanpulse_alerts_totals_lag_seconds",
            "Seconds since the end of engagement.totals.v1 was last reached; nothing is decided meanwhile.",
            registry=registry,
        )
        self.evaluation_seconds = Histogram(
            "fanpulse_alerts_evaluation_seconds",
            "Seconds taken to compare the changed totals with the rules and record what was decided.",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
            registry=registry,
        )
        for rule in rules.milestone:
            self.decided.labels("milestone", rule.name)
            self.decided.labels("retraction", rule.name)
        for spike_rule in rules.spike:
            self.decided.labels("spike", spike_rule.name)
        for topic in ("totals", "alerts"):
            self.unreadable.labels(topic)

    def begin(self, channels: Iterable[str]) -> None:
        """Start the counters of these channels at 0."""
        for channel in channels:
            for counter in (self.delivered, self.suppressed, self.failures, self.retries):
                counter.labels(channel)
