"""The health of fanpulse itself: what comes in, how far it is counted, what goes out.

To add a panel, see `grafana.live`: the same steps, with a row of this module.
"""

from __future__ import annotations

from grafana.layout import Row, dashboard, row
from grafana.live import known, of_stream, stream_variable
from grafana.panels import Json, Panel, Query, lines, stat

UID = "fanpulse-pipeline"
_PARTITION = "{{namespace}} {{partition}}"


def build() -> Json:
    """The dashboard."""
    return dashboard(
        UID,
        "Pipeline",
        "From HTTP to the alert: what comes in, how far it is counted, what goes out.",
        [_summary(), *_ingest(), *_aggregate(), *_alerts()],
        variables=[stream_variable()],
    )


def _rate(metric: str, by: str) -> str:
    """Per second over the last minute, summed over processes."""
    return f"sum by ({by}) (rate({of_stream(metric)}[1m]))"


def _increase(metric: str, by: str) -> str:
    """In the last five minutes, summed over processes."""
    return f"sum by ({by}) (increase({of_stream(metric)}[5m]))"


def _by_partition(metric: str) -> Query:
    """A gauge of a partition; while the partition moves, the higher one of two workers."""
    return Query(f"max by (namespace, partition) ({of_stream(metric)})", _PARTITION)


def _latency(title: str, description: str, histogram: str) -> Panel:
    """Median and 99th percentile over the last minute, of all processes together."""
    buckets = f"sum by (le) (rate({of_stream(histogram + '_bucket')}[1m]))"
    queries = [
        Query(f"histogram_quantile({q}, {buckets})", name) for q, name in ((0.5, "median"), (0.99, "99 %"))
    ]
    return lines(title, description, "s", *queries)


def _summary() -> Row:
    accepted = f"sum({of_stream('namespace:fanpulse_ingest_events_accepted:rate1m')})"
    rejected = f"sum({of_stream('namespace:fanpulse_ingest_events_rejected:rate1m')})"
    return row(
        4,
        stat("Accepted", "Events that Kafka acknowledged, per second.", "ops", Query(known(accepted))),
        stat(
            "Rejected",
            "Share of the events of the last minute that became dead letters.",
            "percentunit",
            Query(known(f"{rejected} / ({accepted} + {rejected} > 0) or {accepted} * 0")),
            decimals=1,
            late_above=0.05,
        ),
        stat(
            "Counted",
            "Events counted per second.",
            "ops",
            Query(known(f"sum({of_stream('namespace:fanpulse_events_counted:rate1m')})")),
        ),
        stat(
            "Counted since the beginning",
            "Events counted since the stream began, without duplicates.",
            "short",
            Query(known(f"sum({of_stream('namespace:fanpulse_events_counted:total')})")),
        ),
        stat(
            "Processes up",
            "Processes of ingest, aggregate and alerts that Prometheus reaches.",
            "short",
            Query(known('sum(up{job=~"fanpulse-.+"})')),
        ),
        stat(
            "Alarms",
            "Alerts about fanpulse itself that are firing now.",
            "short",
            Query('count(ALERTS{alertname=~"Fanpulse.+",alertstate="firing"}) or vector(0)'),
            late_above=1,
        ),
    )


def _ingest() -> list[Row]:
    return [
        row(
            8,
            lines(
                "Accepted by kind",
                "Events written to the log and acknowledged by all replicas, per second.",
                "ops",
                Query(_rate("fanpulse_ingest_events_accepted_total", "kind"), "{{kind}}"),
            ),
            lines(
                "Rejected by reason",
                "Events kept as dead letters, per second. `fanpulse dead-letters` shows them.",
                "ops",
                Query(f"{_rate('fanpulse_ingest_events_rejected_total', 'reason')} > 0", "{{reason}}"),
            ),
            lines(
                "Responses by status",
                "To POST /v1/events, per second. 503 means that Kafka does not take events fast enough.",
                "reqps",
                Query(_rate("fanpulse_ingest_requests_total", "status"), "{{status}}"),
            ),
        ),
        row(
            8,
            _latency(
                "Time to respond",
                "From the headers of a request to its response, acknowledgement included.",
                "fanpulse_ingest_request_seconds",
            ),
            _latency(
                "Time to acknowledge",
                "From the moment the producer takes a group of records to their acknowledgement.",
                "fanpulse_ingest_flush_seconds",
            ),
            lines(
                "Waiting in ingest",
                "Bytes that wait for Kafka, by process. ingest.max_pending_bytes is the limit.",
                "bytes",
                Query(of_stream("fanpulse_ingest_pending_bytes"), "{{instance}}"),
            ),
        ),
        row(
            6,
            lines(
                "Kafka records written",
                "Per second, in all topics. Accepted events divided by this are the events of a record.",
                "ops",
                Query(_rate("fanpulse_ingest_records_total", "instance"), "{{instance}}"),
            ),
            lines(
                "Known posts",
                "Posts whose interactions ingest can complete with hashtags, campaign and format.",
                "short",
                Query(of_stream("fanpulse_ingest_known_posts"), "{{instance}}"),
            ),
            lines(
                "Events by API key",
                "Accepted and rejected events per second, by the name of the key (docs/access.md).",
                "ops",
                Query(_rate("fanpulse_ingest_key_events_total", "key, result"), "{{key}} {{result}}"),
            ),
            lines(
                "Trouble with the broker",
                "Errors of ingest's connection in the last five minutes, by name. It tries again by itself.",
                "short",
                Query(_increase("fanpulse_ingest_broker_trouble_total", "error"), "{{error}}"),
            ),
        ),
    ]


def _aggregate() -> list[Row]:
    counted = f"rate({of_stream('partition:fanpulse_events_counted:rebalance_safe')}[1m])"
    stream_time = (
        f"max by (namespace, partition) ({of_stream('fanpulse_aggregate_stream_timestamp_seconds')})"
    )
    newest = f"max by (namespace, partition) ({of_stream('fanpulse_aggregate_max_event_timestamp_seconds')})"
    return [
        row(
            8,
            lines(
                "Counted by partition",
                "Events per second. A partition without a line is one that no worker counts.",
                "ops",
                Query(counted, _PARTITION),
            ),
            lines(
                "Lag in seconds",
                "Age of the last record counted while others wait, by partition.",
                "s",
                _by_partition("fanpulse_aggregate_lag_seconds"),
                late_above=15,
            ),
            lines(
                "Lag in records",
                "Records of the log that are not counted yet, by partition.",
                "short",
                _by_partition("fanpulse_aggregate_lag_records"),
            ),
        ),
        row(
            8,
            _latency(
                "Time to count a record",
                "From the bytes of a record to its counts, decoding included.",
                "fanpulse_processing_seconds",
            ),
            _latency(
                "Time of a transaction",
                "To encode, send and commit the changes of a flush.",
                "fanpulse_flush_seconds",
            ),
            lines(
                "Written to totals",
                "Entries of engagement.totals.v1 per second.",
                "ops",
                Query(_rate("fanpulse_stored_entries_total", "instance"), "{{instance}}"),
            ),
        ),
        row(
            8,
            lines(
                "Duplicates, late, rejected and voided",
                "Events per second. Duplicates are not counted. Late events count in totals and not in "
                "windows. Rejected entries of the log become dead letters. Voided events were taken back.",
                "ops",
                Query(_rate("partition:fanpulse_duplicate_events:rebalance_safe", "namespace"), "duplicates"),
                Query(_rate("partition:fanpulse_late_events:rebalance_safe", "namespace"), "late"),
                Query(_rate("partition:fanpulse_rejected_entries:rebalance_safe", "namespace"), "rejected"),
                Query(_rate("partition:fanpulse_voided_events:rebalance_safe", "namespace"), "voided"),
            ),
            lines(
                "Ids in the dedup window",
                "Event ids kept to recognise duplicates, by partition.",
                "short",
                _by_partition("fanpulse_dedup_ids"),
            ),
            lines(
                "Max event time against stream time",
                "How far the newest event is ahead of stream time, by partition.",
                "s",
                Query(f"{newest} - {stream_time}", _PARTITION),
            ),
        ),
        row(
            6,
            lines(
                "Offset in the log",
                "Offset of the last record counted, by partition.",
                "none",
                _by_partition("fanpulse_aggregate_offset"),
            ),
            lines(
                "Partitions lost in flight",
                "In the last five minutes: transactions that a new owner fenced, and records left for it.",
                "short",
                Query(_increase("fanpulse_fenced_total", "namespace"), "fenced"),
                Query(_increase("fanpulse_stale_records_total", "namespace"), "left out"),
            ),
            lines(
                "Readings that do not rise",
                "In the last five minutes. Downward adjustments: the platform lowered its count of reads. "
                "Resets: a jump to another count, or back. Late: older than the newest, left out.",
                "short",
                Query(
                    _increase("partition:fanpulse_reading_downward_adjustments:rebalance_safe", "namespace"),
                    "downward adjustments",
                ),
                Query(_increase("partition:fanpulse_reading_resets:rebalance_safe", "namespace"), "resets"),
                Query(_increase("partition:fanpulse_late_readings:rebalance_safe", "namespace"), "late"),
            ),
        ),
    ]


def _alerts() -> list[Row]:
    return [
        row(
            8,
            lines(
                "Alerts decided",
                "Milestones and spikes in the last five minutes, by rule.",
                "short",
                Query(
                    f"{_increase('fanpulse_alerts_decided_total', 'kind, rule')} > 0", "{{kind}} · {{rule}}"
                ),
            ),
            lines(
                "Alerts delivered",
                "In the last five minutes, by channel. Suppressed: a higher milestone was sent instead.",
                "short",
                Query(_increase("fanpulse_alerts_delivered_total", "channel"), "{{channel}}"),
                Query(_increase("fanpulse_alerts_suppressed_total", "channel"), "{{channel}} suppressed"),
                Query(
                    _increase("fanpulse_alerts_delivery_retries_total", "channel"), "{{channel}} tried again"
                ),
                Query(
                    _increase("fanpulse_alerts_delivery_failures_total", "channel"), "{{channel}} given up"
                ),
            ),
            lines(
                "Lag of alerts",
                "Since the alerts service last reached the end of the totals. Meanwhile it decides nothing.",
                "s",
                Query(f"max({of_stream('fanpulse_alerts_totals_lag_seconds')})", "lag"),
                late_above=30,
            ),
        ),
        row(
            6,
            _latency(
                "Time to decide",
                "To check changed totals against the rules and record what was decided.",
                "fanpulse_alerts_evaluation_seconds",
            ),
            lines(
                "Totals not read yet",
                "Offsets of engagement.totals.v1 not read yet by the alerts service; records it cannot read.",
                "short",
                Query(f"sum({of_stream('fanpulse_alerts_totals_lag_records')})", "not read yet"),
                Query(_increase("fanpulse_alerts_unreadable_records_total", "topic"), "{{topic}} unreadable"),
            ),
            lines(
                "Alerts known",
                "Alerts decided since the stream began. None is decided again.",
                "short",
                Query(f"max({of_stream('fanpulse_alerts_alert_log_size')})", "alerts"),
            ),
        ),
    ]
