"""The producer of ingest: how settings become options of librdkafka, and what becomes of its reports."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError
from pydantic import SecretStr

from services.ingest.kafka.producer import DeliveryError, RecordProducer, TooLargeError, Unsent, _Delivery
from services.runtime import kafka as runtime_kafka
from services.runtime.librdkafka import librdkafka_options
from services.runtime.settings import KafkaSettings, Settings, SettingsError


def settings(**changes: Any) -> KafkaSettings:
    return KafkaSettings(bootstrap="broker:9092", **changes)


def test_a_plain_broker_needs_an_address_only() -> None:
    """No option of SASL or TLS is set that is not used."""
    assert librdkafka_options(settings()) == {
        "bootstrap.servers": "broker:9092",
        "security.protocol": "PLAINTEXT",
    }


def test_every_setting_of_sasl_and_tls_reaches_librdkafka(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The same settings as for the other clients, by librdkafka's names."""
    monkeypatch.setattr(runtime_kafka, "ssl_context", lambda kafka: None)  # the files do not exist
    options = librdkafka_options(
        settings(
            security_protocol="SASL_SSL",
            sasl_mechanism="SCRAM-SHA-512",
            sasl_username="u",
            sasl_password=SecretStr("p"),
            ssl_cafile=tmp_path / "ca",
            ssl_certfile=tmp_path / "cert",
            ssl_keyfile=tmp_path / "key",
        )
    )
    assert options == {
        "bootstrap.servers": "broker:9092",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "u",
        "sasl.password": "p",
        "ssl.ca.location": str(tmp_path / "ca"),
        "ssl.certificate.location": str(tmp_path / "cert"),
        "ssl.key.location": str(tmp_path / "key"),
    }


def test_without_a_broker_it_is_an_error_of_the_settings() -> None:
    """The message says what to set."""
    with pytest.raises(SettingsError, match="FANPULSE_KAFKA_BOOTSTRAP"):
        librdkafka_options(KafkaSettings())


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_librdkafka_takes_the_options(mechanism: str) -> None:
    """It knows every option and mechanism that the settings allow; nothing is sent before the start."""
    kafka = settings(
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism=mechanism,
        sasl_username="u",
        sasl_password=SecretStr("p"),
    )
    producer = RecordProducer(Settings(kafka=kafka), lambda error: None)
    await producer.stop()


async def test_a_delivery_is_done_when_every_record_is_acknowledged() -> None:
    """Not before the last report; and an error of one fails the whole at once."""
    loop = asyncio.get_running_loop()
    producer: Any = SimpleNamespace(appended_ms=0)
    message: Any = SimpleNamespace(timestamp=lambda: (TIMESTAMP_LOG_APPEND_TIME, 7))
    delivery = _Delivery(producer, loop, 2)
    delivery.report(None, message)
    await asyncio.sleep(0)
    assert not delivery.future.done()
    delivery.report(None, message)
    await delivery.future
    assert producer.appended_ms == 7
    lost = _Delivery(producer, loop, 2)
    lost.report(KafkaError(KafkaError.INVALID_TIMESTAMP), message)
    with pytest.raises(DeliveryError, match="INVALID_TIMESTAMP"):
        await lost.future
    lost.report(None, message)


@pytest.mark.parametrize("code", [KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE])
async def test_a_record_that_is_too_large_fails_alone(code: int) -> None:
    """The delivery ends when the fate of every record is known, and names the one that was rejected."""
    producer: Any = SimpleNamespace(appended_ms=0)
    good: Any = SimpleNamespace(timestamp=lambda: (TIMESTAMP_LOG_APPEND_TIME, 7))
    large: Any = SimpleNamespace(topic=lambda: "t", partition=lambda: 3, value=lambda: b"large")
    delivery = _Delivery(producer, asyncio.get_running_loop(), 2)
    delivery.report(KafkaError(code), large)
    await asyncio.sleep(0)
    assert not delivery.future.done()
    delivery.report(None, good)
    with pytest.raises(TooLargeError) as raised:
        await delivery.future
    assert raised.value.records == [Unsent("t", 3, b"large")]
