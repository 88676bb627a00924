"""The settings of the broker's connection as librdkafka names them."""

from __future__ import annotations

from typing import Any

from services.runtime.kafka import client_options
from services.runtime.settings import KafkaSettings


def librdkafka_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Connection options as librdkafka names them. Raises SettingsError as for every other client."""
    options: dict[str, Any] = {
        "bootstrap.servers": client_options(kafka)["bootstrap_servers"],
        "security.protocol": kafka.security_protocol,
    }
    if kafka.security_protocol.startswith("SASL"):
        password = kafka.sasl_password.get_secret_value() if kafka.sasl_password else ""
        options |= {
            "sasl.mechanism": kafka.sasl_mechanism,
            "sasl.username": kafka.sasl_username or "",
            "sasl.password": password,
        }
    if kafka.security_protocol.endswith("SSL"):
        files = {
            "ssl.ca.location": kafka.ssl_cafile,
            "ssl.certificate.location": kafka.ssl_certfile,
            "ssl.key.location": kafka.ssl_keyfile,
        }
        options |= {name: str(path) for name, path in files.items() if path}
    return options
