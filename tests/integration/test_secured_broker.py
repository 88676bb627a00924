"""A broker that asks for TLS and a password: every service reaches it, and says in a line why it cannot."""

from __future__ import annotations

import asyncio
import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fanpulse.devstack import kafka_config
from fanpulse.devstack.kafka import EmbeddedKafka
from services.runtime.settings import KafkaSettings, Settings
from tests.support.ports import free_port
from tests.support.processes import Service, eventually

USER, PASSWORD = "fanpulse", "a-password-of-the-tests"
MODULE = "org.apache.kafka.common.security.plain.PlainLoginModule"
EVENT = {
    "kind": "interaction",
    "event_id": "over-tls-1",
    "occurred_at": "2026-06-22T09:30:00Z",
    "platform": "twitter",
    "account": "GansuTravel",
    "action": "like",
    "quantity": 3,
}


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def _certificates(folder: Path) -> None:
    """An authority (ca.pem) and a certificate of 127.0.0.1 with its key (server.pem), as in the docs."""
    folder.mkdir()
    key = ("-newkey", "rsa:2048", "-noenc", "-days", "2")
    _openssl(
        folder, "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test authority"
    )
    name = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-out", "server.crt")
    _openssl(folder, "req", "-x509", *key, "-keyout", "server.key", *name, *signed)
    (folder / "server.pem").write_text(
        (folder / "server.key").read_text() + (folder / "server.crt").read_text()
    )


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaSettings]:
    """How to reach a broker over SASL_SSL, which has no other listener but the one that starts it."""
    folder, port = tmp_path_factory.mktemp("secured"), free_port()
    _certificates(folder / "tls")
    plain = kafka_config.server_properties

    def properties(*arguments: Any) -> dict[str, str]:
        given = plain(*arguments)
        return given | {
            "listeners": f"{given['listeners']},SECURE://127.0.0.1:{port}",
            "advertised.listeners": f"{given['advertised.listeners']},SECURE://127.0.0.1:{port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL",
            "listener.name.secure.ssl.keystore.type": "PEM",
            "listener.name.secure.ssl.keystore.location": str(folder / "tls" / "server.pem"),
            "listener.name.secure.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.secure.plain.sasl.jaas.config": f'{MODULE} required user_{USER}="{PASSWORD}";',
        }

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(kafka_config, "server_properties", properties)
        broker = EmbeddedKafka(folder / "kafka")
        asyncio.run(broker.start())
        yield KafkaSettings(
            bootstrap=f"127.0.0.1:{port}",
            security_protocol="SASL_SSL",
            sasl_username=USER,
            sasl_password=PASSWORD,
            ssl_cafile=folder / "tls" / "ca.pem",
        )
        asyncio.run(broker.stop())


def _variables(kafka: KafkaSettings, **changes: str) -> dict[str, str]:
    return {
        "FANPULSE_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "FANPULSE_KAFKA_SASL_USERNAME": USER,
        "FANPULSE_KAFKA_SASL_PASSWORD": PASSWORD,
        "FANPULSE_KAFKA_SSL_CAFILE": str(kafka.ssl_cafile),
        **changes,
    }


def test_all_services_work_over_tls_with_a_password(secured: KafkaSettings, tmp_path: Path) -> None:
    """An event goes in over HTTP, is counted, and is in the totals; alerts become ready as well.

    At debug, when aiokafka logs the requests with which it signs in, the password is in no line.
    """
    settings = Settings(namespace="secured", state_dir=tmp_path / "state", kafka=secured)
    services = {
        name: Service(
            name,
            settings,
            tmp_path / f"{name}.log",
            free_port(),
            **_variables(secured, FANPULSE_LOG_LEVEL="debug"),
        )
        for name in ("ingest", "aggregate", "alerts")
    }
    with services["ingest"] as ingest, services["aggregate"] as aggregate, services["alerts"] as alerts:
        for service in (ingest, aggregate, alerts):
            service.wait_ready(90)
        request = urllib.request.Request(
            f"{ingest.url}/v1/events", json.dumps(EVENT).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert json.load(answer) == {"accepted": 1, "rejected": []}
        counted = "fanpulse_account_events_total"
        eventually(
            lambda: any(
                name.startswith(counted) and value == 3 for name, value in aggregate.metrics().items()
            ),
            60,
            "the event is counted",
        )
        for service in (ingest, aggregate, alerts):
            assert service.stop(60) == 0
    logs = [service.log.read_text(errors="replace") for service in services.values()]
    assert any("SaslAuthenticate" in log or "SaslAuthenticateRequest" in log for log in logs)
    assert not [log for log in logs if PASSWORD in log]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"FANPULSE_KAFKA_SASL_PASSWORD": "wrong-9c1f"}, "uthentication"),
        ({"FANPULSE_KAFKA_SSL_CAFILE": "{other}"}, "certificate verify failed"),
        ({"FANPULSE_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT"}, "127.0.0.1"),
    ],
    ids=["password", "authority", "protocol"],
)
@pytest.mark.parametrize("name", ["ingest", "aggregate", "alerts"])
def test_a_wrong_password_or_authority_ends_with_one_line(
    name: str, changes: dict[str, str], says: str, secured: KafkaSettings, tmp_path: Path
) -> None:
    """The last line names the broker and the reason; no secret and no traceback is printed."""
    _certificates(tmp_path / "other")
    changes = {key: value.format(other=tmp_path / "other" / "ca.pem") for key, value in changes.items()}
    settings = Settings(namespace="secured", state_dir=tmp_path / "state", kafka=secured)
    service = Service(name, settings, tmp_path / "log", free_port(), **_variables(secured, **changes))
    with service:
        assert service.process.wait(100) not in (0, -9)
    printed = service.log.read_text()
    assert "Traceback" not in printed
    assert "wrong-9c1f" not in printed
    assert says in printed.splitlines()[-1], printed[-2000:]
