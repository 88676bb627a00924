"""What ingest tells Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from schemas.events import MODELS
from schemas.reasons import Reason

#: Every status that POST /v1/events answers.
STATUSES = (202, 400, 401, 408, 413, 415, 422, 429, 503)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class LoopHistogram(Collector):
    """A histogram for one event loop, which observes and is scraped: without the library's locks and loops.

    They take a fiftieth of the time of a request of one event. ``buckets``: upper bounds, ascending.
    """

    def __init__(
        self, name: str, documentation: str, *, buckets: Sequence[float], registry: CollectorRegistry
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = tuple(buckets)
        self._counts = [0] * (len(buckets) + 1)
        self._sum = 0.0
        registry.register(self)

    def observe(self, size: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, size)] += 1
        self._sum += size

    def describe(self) -> Iterator[Metric]:
        """The name, for the registry to keep unique."""
        yield HistogramMetricFamily(self._name, self._documentation)

    def collect(self) -> Iterator[Metric]:
        """What was counted so far."""
        bounds = (*map(floatToGoString, self._bounds), "+Inf")
        buckets = list(zip(bounds, map(float, accumulate(self._counts)), strict=True))
        yield HistogramMetricFamily(self._name, self._documentation, buckets, self._sum)


class IngestMetrics:
    """The metrics of one ingest process, in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "fanpulse_ingest_requests",
            "Answers to POST /v1/events, by status.",
            ["status"],
            registry=registry,
        )
        self.accepted = Counter(
            "fanpulse_ingest_events_accepted",
            "Events written to the log and acknowledged by all replicas, by kind.",
            ["kind"],
            registry=registry,
        )
        self.rejected = Counter(
            "fanpulse_ingest_events_rejected",
            "Events (or whole bodies) rejected and kept as dead letters, by reason.",
            ["reason"],
            registry=registry,
        )
        self.key_events = Counter(
            "fanpulse_ingest_key_events",
            "Events taken in under an API key, by its name and whether they were accepted or rejected.",
            ["key", "result"],
            registry=registry,
        )
        self.keys_file_unusable = Gauge(
            "fanpulse_ingest_keys_file_unusable",
            "1 while the keys file cannot be used, and the keys read before are in force.",
            registry=registry,
        )
        self._of_key: dict[str, tuple[Counter, Counter]] = {}
        self.pending = Gauge(
            "fanpulse_ingest_pending_bytes",
            "Bytes of requests and events held until the broker acknowledges; bounded by max_pending_bytes.",
            registry=registry,
        )
        self.known_posts = Gauge(
            "fanpulse_ingest_known_posts", "Posts whose interactions can be completed.", registry=registry
        )
        self.clock_ahead = Gauge(
            "fanpulse_ingest_clock_ahead_seconds",
            "How far the wall clock of this machine is ahead of the broker's, by the last clock record.",
            registry=registry,
        )
        self.oversize = Counter(
            "fanpulse_ingest_oversize_records",
            "Records that the broker rejected for their size: max.message.bytes of a topic is too small.",
            registry=registry,
        )
        self._trouble = Counter(
            "fanpulse_ingest_broker_trouble",
            "Errors of the connection to the broker, after each of which the producer tries again.",
            ["error"],
            registry=registry,
        )
        self.records = Counter(
            "fanpulse_ingest_records",
            "Kafka records written and acknowledged, all topics.",
            registry=registry,
        )
        self.request_seconds = LoopHistogram(
            "fanpulse_ingest_request_seconds",
            "Time from the headers of POST /v1/events to its answer, acknowledgement included.",
            registry=registry,
            buckets=_SECONDS,
        )
        self.flush_seconds = Histogram(
            "fanpulse_ingest_flush_seconds",
            "Time from handing a group of records to the producer to their acknowledgement.",
            registry=registry,
            buckets=_SECONDS,
        )
        for error in ("_TRANSPORT", "_ALL_BROKERS_DOWN"):  # the usual ones
            self._trouble.labels(error)
        self.accepted_of = {kind: self.accepted.labels(kind) for kind in MODELS}
        self.rejected_of = {reason: self.rejected.labels(reason.value) for reason in Reason}
        self.requests_of = {status: self.requests.labels(str(status)) for status in STATUSES}

    def know_keys(self, names: Iterable[str]) -> None:
        """The names of the API keys from now on; those that are gone have no series any more."""
        now = set(names)
        for gone in self._of_key.keys() - now:
            del self._of_key[gone]
            for result in ("accepted", "rejected"):
                self.key_events.remove(gone, result)
        for name in now - self._of_key.keys():
            self._of_key[name] = (
                self.key_events.labels(name, "accepted"),
                self.key_events.labels(name, "rejected"),
            )

    def of_key(self, name: str, accepted: int, rejected: int) -> None:
        """Events of a key were taken in; the key may be gone by now."""
        if counters := self._of_key.get(name):
            if accepted:
                counters[0].inc(accepted)
            if rejected:
                counters[1].inc(rejected)

    def answered(self, status: int, seconds: float) -> None:
        """A request was answered."""
        self.requests_of[status].inc()
        self.request_seconds.observe(seconds)

    def flushed(self, seconds: float, records: int) -> None:
        """A group of records was acknowledged."""
        self.flush_seconds.observe(seconds)
        self.records.inc(records)

    def broker_trouble(self, error: str) -> None:
        """The producer tries again after an error, by librdkafka's name. Safe in every thread."""
        self._trouble.labels(error).inc()

    def watch(
        self, pending: Callable[[], int], known_posts: Callable[[], int], clock_ahead_ms: Callable[[], int]
    ) -> None:
        """Read the gauges from the service when they are asked for."""
        self.clock_ahead.set_function(lambda: clock_ahead_ms() / 1000)
        self.pending.set_function(pending)
        self.known_posts.set_function(known_posts)
