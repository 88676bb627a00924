"""All metrics of all services, from the code that makes them, with traffic that goes on at every scrape."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry, Metric, start_http_server
from prometheus_client.registry import Collector

import services.alerts
from schemas.codec import decode_one, encode
from schemas.events import ACTIONS
from schemas.reasons import Reason
from services.aggregate.counting.dedup import DedupWindow
from services.aggregate.counting.partition_state import PartitionState
from services.aggregate.kafka.self_metrics import SelfMetrics
from services.aggregate.series.progress_collector import ProgressCollector
from services.aggregate.series.selected_series import Selection
from services.aggregate.series.subject_collector import SubjectCollector
from services.alerts.deciding.rule_file import parse_rules
from services.alerts.deciding.rules import Rules
from services.alerts.metrics import AlertsMetrics
from services.ingest.metrics import IngestMetrics
from services.runtime.readiness import Readiness

ACCOUNTS = (("twitter", "GansuTravel"), ("facebook", "VisitGansu"), ("instagram", "visitgansu"))
TAGS = ("GansuHeritage", "FuxiCeremony", "多彩甘肃")
#: Two series of each kind have names, the third is in `_other`.
TOP = 2


class Traffic(Collector):
    """Exposes nothing; at every scrape a few events more have happened, in two partitions."""

    def __init__(self, self_metrics: SelfMetrics) -> None:
        self._self_metrics = self_metrics
        self.states = [PartitionState(number, DedupWindow(250_000, 2)) for number in range(2)]
        self.owned = {
            state.partition: SimpleNamespace(state=state, highwater=lambda: 10**6, applied_at=time.time() - 1)
            for state in self.states
        }
        self.accounts = Selection("account", [], TOP)
        self.hashtags = Selection("hashtag", [], TOP)
        self.sent = 0

    def collect(self) -> Iterable[Metric]:
        """A scrape."""
        now = int(time.time() * 1000)
        for state in self.states:
            entries = [json.dumps({"kind": "clock", "v": 1, "stream_time": now, "source": "wall"})]
            entries += [
                encode(decode_one(json.dumps(event).encode())).decode() for event in self._events(now)
            ]
            record = f"[{','.join(entries)},{entries[-1]},7]"  # a duplicate, and one that is not an event
            state.apply(state.offset + 1, record.encode())
            self.owned[state.partition].applied_at = time.time()
            self._self_metrics.processing.observe(0.0004)
            self._self_metrics.flush.observe(0.03)
            self._self_metrics.stored_entries.inc(12)
        self.accounts.refresh(self.states)
        self.hashtags.refresh(self.states)
        return []

    def _events(self, now: int) -> Iterator[dict[str, Any]]:
        for number, (platform, account) in enumerate(ACCOUNTS):
            common = {"platform": platform, "account": account, "hashtags": [TAGS[number]]}
            for action in ACTIONS:
                self.sent += 1
                yield {
                    "kind": "interaction", "event_id": f"e{self.sent}", "occurred_at": now - 500, **common,
                    "action": action, "quantity": 3 - number, "broadcast_id": "fuxi-2026",
                }  # fmt: skip
            del common["hashtags"]
            self.sent += 2
            yield {
                "kind": "reading", "event_id": f"e{self.sent}", "occurred_at": now, **common,
                "metric": "followers", "value": 200_000 + self.sent,
            }  # fmt: skip
            yield {
                "kind": "broadcast", "event_id": f"e{self.sent - 1}", "occurred_at": now, **common,
                "broadcast_id": "fuxi-2026", "phase": "started",
            }  # fmt: skip


def _aggregate() -> CollectorRegistry:
    registry = _OneAtATime()
    Readiness(registry, "it starts").enter(None)
    traffic = Traffic(SelfMetrics(registry))
    registry.register(traffic)
    partition_manager: Any = traffic
    registry.register(SubjectCollector(partition_manager, traffic.accounts))
    registry.register(SubjectCollector(partition_manager, traffic.hashtags))
    registry.register(ProgressCollector(partition_manager, traffic.accounts, 100))
    return registry


class _IngestTraffic(Collector):
    def __init__(self, metrics: IngestMetrics) -> None:
        self.metrics = metrics

    def collect(self) -> Iterable[Metric]:
        self.metrics.requests.labels("202").inc(20)
        self.metrics.accepted.labels("interaction").inc(400)
        self.metrics.rejected.labels(Reason.BAD_TIME.value).inc()
        self.metrics.request_seconds.observe(0.004)
        self.metrics.flushed(0.003, 8)
        return []


def _ingest() -> CollectorRegistry:
    registry = _OneAtATime()
    Readiness(registry, "it starts").enter(None)
    metrics = IngestMetrics(registry)
    metrics.know_keys(["studio"])
    metrics.of_key("studio", 1, 1)
    metrics.watch(pending=lambda: 4096, known_posts=lambda: 120, clock_ahead_ms=lambda: 20)
    registry.register(_IngestTraffic(metrics))
    return registry


class _AlertsTraffic(Collector):
    def __init__(self, metrics: AlertsMetrics, rules: Rules) -> None:
        self.metrics = metrics
        self.rules = rules

    def collect(self) -> Iterable[Metric]:
        metrics = self.metrics
        metrics.decided.labels("milestone", self.rules.milestone[0].name).inc()
        metrics.delivered.labels("webhook").inc()
        metrics.evaluation_seconds.observe(0.004)
        for gauge in (metrics.alert_log_size, metrics.lag_records, metrics.lag_seconds):
            gauge.set(0)
        return []


def _alerts() -> CollectorRegistry:
    registry = _OneAtATime()
    rules = parse_rules(
        (Path(services.alerts.__file__).parent / "rules.toml").read_text("utf-8"), "rules.toml"
    )
    Readiness(registry, "it starts").enter(None)
    metrics = AlertsMetrics(registry, rules)
    metrics.begin(["webhook"])
    registry.register(_AlertsTraffic(metrics, rules))
    return registry


class _OneAtATime(CollectorRegistry):
    """Of two that scrape at once, one waits: the services collect on one thread, the server here has many."""

    def __init__(self) -> None:
        super().__init__()
        self._collecting = threading.Lock()

    def collect(self) -> Iterable[Metric]:
        with self._collecting:
            return list(super().collect())


@contextlib.contextmanager
def expose_everything() -> Iterator[dict[str, str]]:
    """Three endpoints on the loopback address; gives their addresses by the name of the service."""
    servers = {
        name: start_http_server(0, "127.0.0.1", registry=registry)
        for name, registry in (("ingest", _ingest()), ("aggregate", _aggregate()), ("alerts", _alerts()))
    }
    try:
        yield {name: f"127.0.0.1:{server.server_port}" for name, (server, _) in servers.items()}
    finally:
        for server, thread in servers.values():
            server.shutdown()
            server.server_close()
            thread.join()
