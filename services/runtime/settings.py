"""All settings of fanpulse, in one place.

A value comes from, in this order: an environment variable ``FANPULSE_<KEY>`` or
``FANPULSE_<SECTION>_<KEY>`` (``FANPULSE_KAFKA_BOOTSTRAP``), then the TOML file named by
``FANPULSE_CONFIG`` (default ``fanpulse.toml`` in the working folder, if there is one), then the default
written here. ``docs/settings.md`` is generated from this module.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from schemas.fields import MAX_QUANTITY, MAX_VALUE, account_name
from services.runtime.redaction import protect, secret_values
from services.runtime.settings_problems import (
    Source,
    first_problem,
    not_json,
    null_character,
    read_source,
    unknown_variable,
)
from services.runtime.settings_types import (
    Accounts,
    Addresses,
    AliasGroups,
    Origins,
    QuantityByAction,
    TrackedHashtags,
    Vips,
)

CONFIG_VARIABLE = "FANPULSE_CONFIG"
CONFIG_DEFAULT = "fanpulse.toml"
PREFIX = "FANPULSE_"
NAMESPACE_FORM = r"^[a-z0-9][a-z0-9-]{0,30}$|^$"


class SettingsError(ValueError):
    """A setting has a wrong value. The message is one line: which setting, why, and what to change."""


class Section(BaseModel):
    """A table of the settings file. An unknown key is an error, so that you notice a misspelt one."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, hide_input_in_errors=True)


class KafkaSettings(Section):
    """How to reach the Kafka broker. Without a bootstrap address, fanpulse uses the embedded broker."""

    bootstrap: Addresses | None = Field(
        None, description="host:port[,host:port...] of an existing broker; unset: the embedded broker"
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="protocol of the connection to the broker"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "PLAIN", description="SASL mechanism, for the SASL protocols"
    )
    sasl_username: str | None = Field(None, description="SASL user")
    sasl_password: SecretStr | None = Field(None, description="SASL password")
    ssl_cafile: Path | None = Field(None, description="PEM file of the authorities to trust")
    ssl_certfile: Path | None = Field(None, description="PEM file of the client certificate")
    ssl_keyfile: Path | None = Field(None, description="PEM file of the client key")
    partitions: int = Field(
        4,
        ge=1,
        le=1024,
        description="partitions of the log and the totals when a stream begins; it keeps them, and "
        "`fanpulse repartition` copies it into others",
    )
    replication_factor: int = Field(
        1, ge=1, le=10, description="replicas of the topics that fanpulse creates"
    )
    stream_check_seconds: float = Field(
        10.0,
        ge=0.2,
        description="time between two checks that the topics are still those that the stream was begun with",
    )
    ready_seconds: float = Field(
        30.0,
        ge=1,
        description="longest wait of a service for an acknowledgement, a fetch or an answer of the broker; "
        "beyond it, the service is not ready",
    )


class IngestSettings(Section):
    """The HTTP service that accepts events."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8080, ge=0, le=65535, description="port to listen on; 0 picks a free one")
    api_key_hashes: tuple[str, ...] = Field(
        (), description="SHA-256 (hex) of each accepted API key; required unless host is a loopback address"
    )
    keys_file: Path | None = Field(
        None,
        description="TOML file of keys with names, scopes, rates and bounds (docs/access.md); it is read "
        "again when it changes",
    )
    foreign_accounts: Literal["reject", "count"] = Field(
        "reject",
        description="what becomes of an event for an account that is not in `own_accounts`, if there are any "
        "there: rejected, or counted like all others",
    )
    max_quantity: int = Field(
        100_000, ge=1, le=MAX_QUANTITY, description="largest quantity of one interaction; a key may differ"
    )
    max_quantities: QuantityByAction = Field(
        default_factory=lambda: {"read": 10_000_000},
        description="the same by action, where it differs: reads are often loaded by the day",
    )
    max_reading: int = Field(
        100_000_000_000, ge=0, le=MAX_VALUE, description="largest value of one reading; a key may differ"
    )
    cors_origins: Origins = Field(
        (),
        description="origins, such as https://studio.example, whose pages may send events from a browser; "
        "unset: none",
    )
    max_body_bytes: int = Field(8 * 2**20, ge=1024, description="largest request body, decompressed")
    max_events: int = Field(20_000, ge=1, description="most events in one request")
    max_pending_bytes: int = Field(
        64 * 2**20,
        ge=2**20,
        description="bytes of accepted events that may wait for the broker; beyond it, 503",
    )
    read_timeout_seconds: float = Field(
        10.0, gt=0, description="longest time a client may take to send a body"
    )
    ack_timeout_seconds: float = Field(
        30.0, gt=0, description="longest wait for the broker's acknowledgement; after it, 503"
    )
    record_max_events: int = Field(
        1000, ge=1, le=10_000, description="most events packed into one Kafka record"
    )
    record_max_bytes: int = Field(
        400_000, ge=1024, le=900_000, description="most bytes of JSON packed into one Kafka record"
    )
    clock: Literal["wall", "event"] = Field(
        "wall",
        description="source of the stream time in the log: the wall clock, or the newest event time accepted "
        "(for simulations and replays)",
    )
    clock_interval_ms: int = Field(1000, ge=50, le=60_000, description="time between two clock records")
    max_ahead_seconds: int = Field(
        300, ge=1, description="how far ahead of stream time an event may be; beyond it, it is rejected"
    )
    known_posts: int = Field(
        1_000_000,
        ge=1000,
        description="most posts whose metadata completes their interactions; about 250 bytes each",
    )
    actor_key: SecretStr | None = Field(
        None, description="key of the actor pseudonyms; unset: generated once and kept in the state folder"
    )
    actor_ids: Literal["pseudonym", "raw"] = Field(
        "pseudonym", description="how an actor appears in the log: as a keyed hash, or by the raw id"
    )
    vip_actors: Vips = Field((), description="VIPs as platform:id; they are marked and keep their names")


class AggregateSettings(Section):
    """The Faust application that counts."""

    metrics_host: str = Field("127.0.0.1", description="address of /metrics, /healthz and /readyz")
    metrics_port: int = Field(9101, ge=0, le=65535, description="their port; 0 picks a free one")
    flush_interval_ms: int = Field(1000, ge=50, le=60_000, description="time between two transactions")
    session_timeout_seconds: float = Field(
        6.0,
        ge=1,
        description="silence after which the group replaces a worker; not below the broker's "
        "`group.min.session.timeout.ms`, which is 6 s unless set",
    )
    dedup_segment_events: int = Field(
        250_000, ge=1000, description="most events of a partition in one dedup segment"
    )
    dedup_segment_seconds: int = Field(
        604_800, ge=60, description="longest span of stream time of one dedup segment"
    )
    dedup_segments: int = Field(
        2, ge=1, le=100, description="closed segments in the dedup window, besides the open one"
    )
    accept_gaps: bool = Field(
        False,
        description="count on although the broker has removed records before they were counted, or records "
        "whose ids the dedup window needs; otherwise the aggregator stops",
    )
    tracked_accounts: Accounts = Field(
        (), description="accounts as platform:account that always have their own Prometheus series"
    )
    tracked_hashtags: TrackedHashtags = Field(
        (), description="hashtags that always have their own Prometheus series"
    )
    top_accounts: int = Field(
        100, ge=0, le=10_000, description="further accounts with their own series: the busiest ones"
    )
    top_hashtags: int = Field(
        100, ge=0, le=10_000, description="further hashtags with their own series: the busiest ones"
    )
    top_broadcasts: int = Field(
        100,
        ge=0,
        le=10_000,
        description="broadcasts with their own series: those with the newest events; the others are summed",
    )


class AlertsSettings(Section):
    """The service that decides and delivers milestones and spikes."""

    metrics_host: str = Field("127.0.0.1", description="address of /metrics, /healthz and /readyz")
    metrics_port: int = Field(9102, ge=0, le=65535, description="their port; 0 picks a free one")
    rules: Path | None = Field(None, description="TOML rule file; unset: the rules that come with fanpulse")
    webhook_url: str | None = Field(None, description="URL that each alert is posted to as JSON")
    webhook_secret: SecretStr | None = Field(
        None, description="secret of the webhook signature (Standard Webhooks, whsec_...)"
    )
    terminal: bool = Field(True, description="print each alert as a line on standard output")
    failing_seconds: float = Field(
        60.0,
        ge=0,
        description="longest time that the deliveries of a channel may fail; beyond it, the service is not "
        "ready",
    )


class AuditSettings(Section):
    """The recount of the log."""

    memory_mb: int = Field(
        1024, ge=128, description="memory for the recount, in MiB; beyond it, the audit uses temporary files"
    )
    settle_seconds: float = Field(
        30.0,
        ge=0,
        description="longest wait until the services have counted and decided the whole log",
    )


class StackSettings(Section):
    """The local stack of `fanpulse up` and `fanpulse demo`; a port of 0 picks a free one and reuses it."""

    kafka_port: int = Field(0, ge=0, le=65535, description="port of the embedded broker")
    broker_stall_seconds: float = Field(
        60.0,
        ge=1,
        description="how long the embedded broker may start without a line in its log; while it makes "
        "progress, such as loading its data, the start takes as long as it takes",
    )
    prometheus_port: int = Field(0, ge=0, le=65535, description="port of Prometheus, if it is on the PATH")
    grafana_port: int = Field(0, ge=0, le=65535, description="port of Grafana, if it is on the PATH")


class Settings(BaseSettings):
    """Every setting of every service."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="_",
        env_nested_max_split=1,
        extra="forbid",
        frozen=True,
        validate_default=True,
        hide_input_in_errors=True,
    )

    namespace: str = Field(
        "",
        pattern=NAMESPACE_FORM,
        description="prefix of topics, groups and transactional ids, and label of metrics; "
        "streams of different namespaces never meet",
    )
    state_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_state_dir("fanpulse")),
        description="folder of the embedded broker's data, the addresses of the stack and generated keys",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="lowest level that is logged"
    )
    log_format: Literal["json", "console"] = Field("json", description="format of a log line")
    kafka: KafkaSettings = KafkaSettings()
    ingest: IngestSettings = IngestSettings()
    aggregate: AggregateSettings = AggregateSettings()
    alerts: AlertsSettings = AlertsSettings()
    audit: AuditSettings = AuditSettings()
    stack: StackSettings = StackSettings()
    api_key: SecretStr | None = Field(
        None, description="API key that `fanpulse load` and `fanpulse dead-letters redrive` send to ingest"
    )
    own_accounts: Accounts = Field(
        (),
        description="the organisation's accounts as platform:account; each always has its own Prometheus "
        "series, and ingest rejects events for others (`ingest.foreign_accounts`); unset: any account",
    )
    hashtag_aliases: AliasGroups = Field(
        default_factory=dict,
        description="display name -> hashtags that count as that one, such as its translation",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        path = Path(os.environ.get(CONFIG_VARIABLE) or CONFIG_DEFAULT)
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=path)


def load_settings(**overrides: Any) -> Settings:
    """Read the settings once, at the entry point of a process.

    Raises SettingsError, one line, if a value is wrong, a key of the file or a FANPULSE_ variable is
    unknown, or the file is missing or cannot be read.
    """
    source = read_source(os.environ, PREFIX, CONFIG_VARIABLE, CONFIG_DEFAULT)
    if isinstance(source, str):
        raise SettingsError(source)
    if (unknown := sorted(name for name in source.variables if name not in known_variables())) != []:
        raise SettingsError(unknown_variable(unknown[0], known_variables()))
    if problem := not_json(source.variables, {variable: kind for _, variable, kind in _all()}):
        raise SettingsError(problem)
    settings = _validated(overrides, source)
    if isinstance(settings, str):  # raised here, without the error that knows all values
        raise SettingsError(settings)
    protect(secret_values(settings))
    if problem := null_character(settings):
        raise SettingsError(problem)
    return settings


def _validated(overrides: dict[str, Any], source: Source) -> Settings | str:
    """The settings, or what is wrong with them."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        variables = {place: variable for place, variable, _ in _all()}
        return first_problem(error, Settings, source, variables)


def own_accounts(settings: Settings) -> list[tuple[str, str]]:
    """The organisation's accounts as (platform, account), in the normal form of events."""
    return [account_name(each) for each in settings.own_accounts]


def variable_name(section: str | None, key: str) -> str:
    """The environment variable of a key, as documented."""
    return f"{PREFIX}{section.upper()}_{key.upper()}" if section else f"{PREFIX}{key.upper()}"


def known_variables() -> set[str]:
    """Names of all variables that are read."""
    return {CONFIG_VARIABLE, *(variable for _, variable, _ in _all())}


def _all() -> Iterator[tuple[tuple[str, ...], str, object]]:
    """The place, the variable and the type of every setting."""
    for key, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            for inner, each in field.annotation.model_fields.items():
                yield (key, inner), variable_name(key, inner), each.annotation
        else:
            yield (key,), variable_name(None, key), field.annotation
