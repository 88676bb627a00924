"""Submits what the pipeline has processed to the publisher, and counts it once it is acknowledged."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import NamedTuple

from services.ingest.kafka.publisher import Publisher
from services.ingest.metrics import IngestMetrics
from services.ingest.pipeline.pipeline import Outcome, Processed
from services.ingest.pipeline.stream_time import StreamTime


class Submission(NamedTuple):
    """A request on its way to the log.

    ``acknowledged`` is done when all of it is in the log, or fails with a PublishError.
    """

    acknowledged: asyncio.Future[None]
    outcome: Outcome


class Submitter:
    """Hands processed requests to the publisher. Belongs to the event loop in which it is used."""

    def __init__(self, publisher: Publisher, stream_time: StreamTime, metrics: IngestMetrics) -> None:
        self._publisher = publisher
        self._stream_time = stream_time
        self._metrics = metrics

    def submit(self, processed: Processed) -> Submission:
        """Submit a request. Stream time follows its events only if the publisher takes them.

        Raises PublishError.
        """
        acknowledged = self._publisher.submit(processed.request)
        self._stream_time.saw(processed.newest)
        return Submission(acknowledged, processed.outcome)

    def count(self, outcome: Outcome) -> None:
        """Count a request that has been acknowledged."""
        for kind, count in outcome.accepted.items():
            self._metrics.accepted_of[kind].inc(count)
        for reason, count in Counter(each.rejection.reason for each in outcome.rejected).items():
            self._metrics.rejected_of[reason].inc(count)
        if outcome.unreadable is not None:
            self._metrics.rejected_of[outcome.unreadable.reason].inc()
