"""The Faust application and its settings; `source` reads by it.

Faust commits nothing and stores nothing (docs/adr/0002): the stream is read without acknowledging, and the
offsets are committed by the transactions of `checkpoint_store`.
"""

from __future__ import annotations

from typing import Any

import faust

from services.aggregate.kafka.checkpoint_store import group_id
from services.aggregate.kafka.consumer import POLL_RECORDS, PollBatchTransport
from services.runtime.settings import KafkaSettings, Settings
from services.runtime.tls import ssl_context

#: Poll batches between the poll and the counting: enough to count while the next ones are fetched.
STREAM_BUFFER = 1


class _App(faust.App):  # type: ignore[misc]
    def _create_directories(self) -> None:
        """Nothing: Faust's folders are for tables, of which there are none."""


def credentials(kafka: KafkaSettings) -> Any:
    """Faust's form of the SASL and TLS settings; None for plain text."""
    if kafka.security_protocol == "PLAINTEXT":
        return None
    context = ssl_context(kafka) if kafka.security_protocol.endswith("SSL") else None
    if kafka.security_protocol == "SSL":
        return faust.SSLCredentials(context)
    password = kafka.sasl_password.get_secret_value() if kafka.sasl_password else None
    return faust.SASLCredentials(
        username=kafka.sasl_username,
        password=password,
        mechanism=kafka.sasl_mechanism,
        ssl_context=context,
    )


def create_app(settings: Settings) -> faust.App:
    """The application, without an agent."""
    assert settings.kafka.bootstrap is not None
    session = settings.aggregate.session_timeout_seconds
    app = _App(
        group_id(settings),
        broker=[f"kafka://{address.strip()}" for address in settings.kafka.bootstrap.split(",")],
        broker_credentials=credentials(settings.kafka),
        # Nothing of Faust's own state is used, and it must commit nothing: its commits step over holes.
        broker_commit_interval=3600.0,
        broker_commit_every=10**9,
        stream_wait_empty=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        table_standby_replicas=0,
        web_enabled=False,
        worker_redirect_stdouts=False,
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=30_000,
        broker_session_timeout=session,
        broker_heartbeat_interval=session / 4,
        broker_rebalance_timeout=max(20.0, 2 * session),
        broker_request_timeout=max(30.0, 3 * session),  # Faust wants it above the session's
        broker_max_poll_interval=2_000_000,  # a spare worker without partitions must stay in the group
        broker_max_poll_records=POLL_RECORDS,
        stream_buffer_maxsize=STREAM_BUFFER,
        stream_recovery_delay=0.0,
        # Faust warns if nothing is committed by it; by design nothing is.
        broker_commit_livelock_soft_timeout=10**9,
    )
    app.finalize()
    app.transport = PollBatchTransport(app.conf.broker_consumer, app)
    return app
