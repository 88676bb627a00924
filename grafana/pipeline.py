"""The health of fanpulse itself: what comes in, how far it is counted, what goes out."""

from __future__ import annotations

from grafana.layout import Row, dashboard, label_variable, row
from grafana.live import STREAM, known
from grafana.panels import Json, Panel, Query, lines, stat

UID = "fanpulse-pipeline"
_PARTITION = "{{namespace}} {{partition}}"


def build() -> Json:
    """The dashboard."""
    return dashboard(
        UID,
        "Pipeline",
        "From HTTP to the message: what comes in, how far it is counted, what goes out.",
        [_summary(), *_ingest(), *_aggregate(), *_alerts()],
        variables=[
            label_variable(
                "namespace", "Stream", "the stream to look at", "fanpulse_events_counted_total", multi=False
            )
        ],
    )


def _of(metric: str) -> str:
    return f"{metric}{{{STREAM}}}"


def _rate(metric: str, by: str) -> str:
    """Per second over the last minute, summed over processes."""
    return f"sum by ({by}) (rate({_of(metric)}[1m]))"


def _increase(metric: str, by: str) -> str:
    """In the last five minutes, summed over processes."""
    return f"sum by ({by}) (increase({_of(metric)}[5m]))"


def _by_partition(metric: str) -> Query:
    """A gauge of a partition; while it moves, of the worker that shows more."""
    return Query(f"max by (namespace, partition) ({_of(metric)})", _PARTITION)


def _latency(title: str, description: str, histogram: str) -> Panel:
    """Median and 99th percentile over the last minute, of all processes together."""
    buckets = f"sum by (le) (rate({_of(histogram + '_bucket')}[1m]))"
    queries = [
        Query(f"histogram_quantile({q}, {buckets})", name) for q, name in ((0.5, "median"), (0.99, "99 %"))
    ]
    return lines(title, description, "s", *queries)


def _summary() -> Row:
    accepted = f"sum({_of('namespace:fanpulse_ingest_events_accepted:rate1m')})"
    rejected = f"sum({_of('namespace:fanpulse_ingest_events_rejected:rate1m')})"
    return row(
        4,
        stat("Accepted", "Events acknowledged by Kafka, a second.", "ops", Query(known(accepted))),
        stat(
            "Refused",
            "Share of what was sent in the last minute that became dead letters.",
            "percentunit",
            Query(known(f"{rejected} / ({accepted} + {rejected} > 0) or {accepted} * 0")),
            decimals=1,
            late_above=0.05,
        ),
        stat(
            "Counted",
            "Events counted, a second.",
            "ops",
            Query(known(f"sum({_of('namespace:fanpulse_events_counted:rate1m')})")),
        ),
        stat(
            "Counted in all",
            "Events counted since the stream began, duplicates left out.",
            "short",
            Query(known(f"sum({_of('namespace:fanpulse_events_counted:total')})")),
        ),
        stat(
            "Processes that answer",
            "Of ingest, aggregate and alerts, those that Prometheus reaches.",
            "short",
            Query(known('sum(up{job=~"fanpulse-.+"})')),
        ),
        stat(
            "Alarms",
            "Alerts about fanpulse itself that fire now.",
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
                "Events written to the log and acknowledged by all replicas, a second.",
                "ops",
                Query(_rate("fanpulse_ingest_events_accepted_total", "kind"), "{{kind}}"),
            ),
            lines(
                "Refused by reason",
                "Events kept as dead letters, a second; `fanpulse dead-letters` shows them.",
                "ops",
                Query(f"{_rate('fanpulse_ingest_events_rejected_total', 'reason')} > 0", "{{reason}}"),
            ),
            lines(
                "Answers by status",
                "To POST /v1/events, a second; 503 means that Kafka does not take events fast enough.",
                "reqps",
                Query(_rate("fanpulse_ingest_requests_total", "status"), "{{status}}"),
            ),
        ),
        row(
            8,
            _latency(
                "Time to answer",
                "From the headers of a request to its answer, acknowledgement included.",
                "fanpulse_ingest_request_seconds",
            ),
            _latency(
                "Time to acknowledge",
                "From handing a group of records to the producer to their acknowledgement.",
                "fanpulse_ingest_flush_seconds",
            ),
            lines(
                "Held by ingest",
                "Bytes that wait for Kafka, by process; bounded by ingest.max_pending_bytes.",
                "bytes",
                Query(_of("fanpulse_ingest_pending_bytes"), "{{instance}}"),
            ),
        ),
        row(
            6,
            lines(
                "Kafka records written",
                "A second, all topics. Accepted events divided by this is how full records are.",
                "ops",
                Query(_rate("fanpulse_ingest_records_total", "instance"), "{{instance}}"),
            ),
            lines(
                "Known posts",
                "Posts whose interactions ingest can complete with hashtags, campaign and format.",
                "short",
                Query(_of("fanpulse_ingest_known_posts"), "{{instance}}"),
            ),
        ),
    ]


def _aggregate() -> list[Row]:
    counted = f"rate({_of('partition:fanpulse_events_counted:rebalance_safe')}[1m])"
    present = f"max by (namespace, partition) ({_of('fanpulse_aggregate_stream_timestamp_seconds')})"
    newest = f"max by (namespace, partition) ({_of('fanpulse_aggregate_max_event_timestamp_seconds')})"
    return [
        row(
            8,
            lines(
                "Counted by partition",
                "Events a second; a partition without a line is one that nobody counts.",
                "ops",
                Query(counted, _PARTITION),
            ),
            lines(
                "Behind, in seconds",
                "Age of the last record counted while others wait, by partition.",
                "s",
                _by_partition("fanpulse_aggregate_lag_seconds"),
                late_above=15,
            ),
            lines(
                "Behind, in records",
                "Records of the log that are not counted yet, by partition.",
                "short",
                _by_partition("fanpulse_aggregate_lag_records"),
            ),
        ),
        row(
            8,
            _latency("Time to count a record", "Decoding included.", "fanpulse_processing_seconds"),
            _latency(
                "Time of a transaction", "Encode, send and commit, once a flush.", "fanpulse_flush_seconds"
            ),
            lines(
                "Written to totals",
                "Entries of engagement.totals.v1 a second.",
                "ops",
                Query(_rate("fanpulse_stored_entries_total", "instance"), "{{instance}}"),
            ),
        ),
        row(
            8,
            lines(
                "Left out or late",
                "Events a second. Duplicates are not counted, late ones count in totals but not in windows, "
                "refused entries of the log are dead letters.",
                "ops",
                Query(_rate("partition:fanpulse_duplicate_events:rebalance_safe", "namespace"), "duplicates"),
                Query(_rate("partition:fanpulse_late_events:rebalance_safe", "namespace"), "late"),
                Query(_rate("partition:fanpulse_rejected_entries:rebalance_safe", "namespace"), "rejected"),
            ),
            lines(
                "Ids remembered",
                "Event ids held to recognise duplicates, by partition.",
                "short",
                _by_partition("fanpulse_dedup_ids"),
            ),
            lines(
                "Newest event against the clock",
                "How far the newest event is ahead of the clock of the log, by partition.",
                "s",
                Query(f"{newest} - {present}", _PARTITION),
            ),
        ),
        row(
            6,
            lines(
                "Position in the log",
                "Offset of the last record counted, by partition.",
                "none",
                _by_partition("fanpulse_aggregate_offset"),
            ),
            lines(
                "Partitions taken away",
                "In the last five minutes: fenced in a transaction, and records left out to be read again.",
                "short",
                Query(_increase("fanpulse_fenced_total", "namespace"), "fenced"),
                Query(_increase("fanpulse_stale_records_total", "namespace"), "left out"),
            ),
            lines(
                "Readings out of line",
                "In the last five minutes. Corrections: reads fell, by the platform. Resets: jumps to "
                "another count, or back. Late: older than the newest reading, and left out.",
                "short",
                Query(
                    _increase("partition:fanpulse_reading_downward_adjustments:rebalance_safe", "namespace"),
                    "downward_adjustments",
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
                "In the last five minutes, by channel. Withheld: a higher milestone of the series was sent.",
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
                "Alerts are behind by",
                "Since the alerts service last reached the end of the totals; meanwhile it decides nothing.",
                "s",
                Query(f"max({_of('fanpulse_alerts_totals_lag_seconds')})", "behind by"),
                late_above=30,
            ),
        ),
        row(
            6,
            _latency(
                "Time to decide",
                "To hold changed totals against the rules and record what was decided.",
                "fanpulse_alerts_evaluation_seconds",
            ),
            lines(
                "Totals not read yet",
                "Offsets of engagement.totals.v1 not read yet by the alerts service; records it cannot read.",
                "short",
                Query(f"sum({_of('fanpulse_alerts_totals_lag_records')})", "not read yet"),
                Query(
                    _increase("fanpulse_alerts_unreadable_records_total", "topic"), "{{topic}}, unreadable"
                ),
            ),
            lines(
                "Alerts known",
                "Decided since the stream began: they are not decided again.",
                "short",
                Query(f"max({_of('fanpulse_alerts_alert_log_size')})", "alerts"),
            ),
        ),
    ]
