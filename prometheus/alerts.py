"""Alerts about fanpulse itself, on symptoms that somebody outside would notice.

Milestones and spikes are not here: they are facts of the stream, decided once by the alerts service, and not
conditions that come and go.

To add an alert, add it to a list below, give it a section in docs/runbooks.md and a test just before and at
its time in prometheus/tests/alerts_test.yml, and run `python -m grafana.build`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prometheus.promql import PARTITION_IS_COUNTED

#: Where the runbooks are read, unless you build the rules with `--runbooks`.
RUNBOOKS = "https://fanpulse.example/docs/runbooks.md"
#: A person is called now, or looks at it today.
PAGE, TICKET = "page", "ticket"

_ACCEPTED = "namespace:fanpulse_ingest_events_accepted:rate1m"
_REJECTED = "namespace:fanpulse_ingest_events_rejected:rate1m"


@dataclass(frozen=True)
class Alert:
    """One alert; ``lasts`` is how long the condition has to hold, as a duration of Prometheus."""

    name: str
    severity: str
    lasts: str
    summary: str
    description: str
    expr: str

    def rule(self, runbooks: str) -> dict[str, Any]:
        """The rule as Prometheus reads it. ``runbooks`` is the address of docs/runbooks.md."""
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": self.lasts,
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{runbooks}#{self.name.lower()}",
            },
        }


def _grown(metric: str) -> str:
    """A figure of partitions that is larger than an hour ago; it may not have been known then."""
    now = f"sum by (namespace) (max by (namespace, partition) ({metric}))"
    before = f"sum by (namespace) (max by (namespace, partition) ({metric} offset 1h))"
    return f"{now}\n> on (namespace)\n({before} or 0 * {now})"


def _down(name: str, service: str, summary: str, consequence: str) -> Alert:
    up = f'up{{job="fanpulse-{service}"}}'
    return Alert(
        name,
        PAGE,
        "1m",
        summary,
        f'Nothing answers at {{{{ or $labels.instance "any {service} target" }}}}; {consequence}.',
        f"{up} == 0 or absent({up})",
    )


SERVICES = (
    Alert(
        "FanpulseNotReady",
        PAGE,
        "1m",
        "A service cannot do its work",
        "{{ $labels.job }} at {{ $labels.instance }} has not been ready for "
        "{{ $value | humanizeDuration }}; /readyz there says why, and since when.",
        "max by (namespace, job, instance) (fanpulse_not_ready_seconds) > 60",
    ),
)
INGEST = (
    _down("FanpulseIngestDown", "ingest", "Ingest is down", "sources cannot deliver events"),
    Alert(
        "FanpulseIngestPushesBack",
        PAGE,
        "2m",
        "Ingest answers 503",
        "{{ $value | humanize }} requests a second are sent away "
        "because Kafka does not take events fast enough.",
        'sum by (namespace) (rate(fanpulse_ingest_requests_total{status="503"}[1m])) > 0',
    ),
    Alert(
        "FanpulseRecordsTooLarge",
        TICKET,
        "0m",
        "The broker rejects events for their size",
        "About {{ $value | humanize }} records of the last five minutes were larger than max.message.bytes "
        "of a topic; their clients were answered 413.",
        "sum by (namespace) (increase(fanpulse_ingest_oversize_records_total[5m])) > 0",
    ),
    Alert(
        "FanpulseIngestClockAhead",
        PAGE,
        "1m",
        "The clock of an ingest machine is wrong",
        "The clock at {{ $labels.instance }} is {{ $value | humanizeDuration }} ahead of the broker's. From "
        "5 minutes on its clock records are not obeyed, and it takes no events.",
        "max by (namespace, instance) (fanpulse_ingest_clock_ahead_seconds) > 60",
    ),
    Alert(
        "FanpulseIngestClockBehind",
        PAGE,
        "5m",
        "The clock of an ingest machine is behind",
        "The clock at {{ $labels.instance }} is {{ $value | humanizeDuration }} behind the broker's. It "
        "takes what happens now for the future, and rejects it.",
        "max by (namespace, instance) (-fanpulse_ingest_clock_ahead_seconds) > 60",
    ),
    Alert(
        "FanpulseKeysFileUnusable",
        TICKET,
        "1m",
        "The keys file cannot be used",
        "Ingest at {{ $labels.instance }} goes on with the keys that it read before; keys that were added or "
        "withdrawn since are not in force.",
        "max by (namespace, instance) (fanpulse_ingest_keys_file_unusable) > 0",
    ),
    Alert(
        "FanpulseEventsRejected",
        TICKET,
        "5m",
        "A source sends events that cannot be used",
        "{{ $value | humanizePercentage }} of the events of the last minute became dead letters.",
        f"{_REJECTED}\n  / ({_REJECTED} + {_ACCEPTED})\n  > 0.05\n"
        "and\nsum by (namespace) (increase(fanpulse_ingest_events_rejected_total[5m])) > 50",
    ),
)
AGGREGATE = (
    _down(
        "FanpulseAggregateDown",
        "aggregate",
        "A worker of the aggregator is down",
        "the figures may stand still",
    ),
    Alert(
        "FanpulsePartitionNotCounted",
        PAGE,
        "1m",
        "A partition of the events topic is not counted",
        "No worker holds partition {{ $labels.partition }}; its events are missing from every figure.",
        f"max by (namespace, partition) (last_over_time({PARTITION_IS_COUNTED}[1h]))\n"
        f"unless\nmax by (namespace, partition) ({PARTITION_IS_COUNTED})",
    ),
    Alert(
        "FanpulseAggregateLags",
        PAGE,
        "1m",
        "Figures are behind",
        "The aggregator is {{ $value | humanizeDuration }} behind the newest event.",
        "max by (namespace) (fanpulse_aggregate_lag_seconds) > 15",
    ),
    Alert(
        "FanpulseClockStopped",
        PAGE,
        "1m",
        "No clock records arrive",
        "Stream time of partition {{ $labels.partition }} stands still although events come in; "
        "rolling counts are frozen.",
        f"max by (namespace, partition) (delta({PARTITION_IS_COUNTED}[1m])) <= 0\n"
        f"and on (namespace)\n{_ACCEPTED} > 0",
    ),
    Alert(
        "FanpulseStreamTimeAhead",
        PAGE,
        "1m",
        "Stream time is in the future",
        "Stream time of partition {{ $labels.partition }} is {{ $value | humanizeDuration }} ahead; until "
        "then no rolling count moves and no spike is found.",
        f"max by (namespace, partition) ({PARTITION_IS_COUNTED}) - time() > 360",
    ),
    Alert(
        "FanpulseLogUnreadable",
        TICKET,
        "0m",
        "The log holds entries that cannot be counted",
        "About {{ $value | humanize }} entries of the last five minutes are not events of a known version; "
        "each is a dead letter.",
        "sum by (namespace) (increase(partition:fanpulse_rejected_entries:rebalance_safe[5m])) > 0",
    ),
    Alert(
        "FanpulseRecordsMissing",
        PAGE,
        "0m",
        "The broker removed events before they were counted",
        "{{ $value | humanize }} records of the log are missing from every figure since the stream began, "
        "some of them since an hour ago.",
        _grown("fanpulse_gap_records"),
    ),
    Alert(
        "FanpulseIdsForgotten",
        TICKET,
        "0m",
        "The broker removed ids that find duplicates",
        "Events of {{ $value | humanize }} ids would count again if they were sent again.",
        _grown("fanpulse_forgotten_ids"),
    ),
    Alert(
        "FanpulseSurplusRecords",
        TICKET,
        "1m",
        "Somebody writes to partitions that do not belong to the stream",
        "{{ $value | humanize }} records are in partitions that were added later; nobody counts them.",
        "max without (instance, job) (fanpulse_surplus_records) > 0",
    ),
    Alert(
        "FanpulseTopicSettings",
        PAGE,
        "1m",
        "The broker will remove what is still needed",
        "{{ $value | humanize }} settings of topics would lose events or totals; no service starts on these.",
        "max without (instance, job) (fanpulse_wrong_topic_settings) > 0",
    ),
)
ALERTS = (
    _down(
        "FanpulseAlertsDown", "alerts", "The alerts service is down", "milestones and spikes are decided late"
    ),
    Alert(
        "FanpulseDeliveryFails",
        PAGE,
        "5m",
        "Alerts do not reach people",
        "{{ $value | humanize }} deliveries by {{ $labels.channel }} failed in the last five minutes, "
        "and none succeeded.",
        "(\n"
        "  sum by (namespace, channel) (increase(fanpulse_alerts_delivery_failures_total[5m]))\n"
        "  + sum by (namespace, channel) (increase(fanpulse_alerts_delivery_retries_total[5m]))\n"
        ") > 0\n"
        "unless\nsum by (namespace, channel) (increase(fanpulse_alerts_delivered_total[5m])) > 0",
    ),
    Alert(
        "FanpulseAlertsLag",
        TICKET,
        "1m",
        "Alerts are decided late",
        "The alerts service has not reached the end of the totals for {{ $value | humanizeDuration }}; "
        "it decides nothing meanwhile.",
        "max by (namespace) (fanpulse_alerts_totals_lag_seconds) > 30",
    ),
)


def groups(runbooks: str = RUNBOOKS) -> list[dict[str, Any]]:
    """The groups of alerts, one a service, as Prometheus reads them."""
    services = {"services": SERVICES, "ingest": INGEST, "aggregate": AGGREGATE, "alerts": ALERTS}
    return [
        {"name": f"fanpulse-{service}", "rules": [alert.rule(runbooks) for alert in alerts]}
        for service, alerts in services.items()
    ]
