"""Configuration of the embedded broker: one node that is broker and controller, on the loopback address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

LOG_CONFIG = Path(__file__).with_name("kafka-log.properties")
DATA = "data"
TEMPORARY = "tmp"
CLUSTER_ID = "fanpulse-local-stack00"  # 22 characters, as Kafka's own ids have
_PARTITIONS = "4"  # of internal topics: each one delays the start, and one node gains nothing from 50
_NEVER = "2147483647"


def server_properties(port: int, controller_port: int, data: str = DATA) -> dict[str, str]:
    """The broker's properties. `data` is relative to the working folder, whose name may be anything."""
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": data,
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": _PARTITIONS,
        # Offsets are half of the aggregator's state. By default the broker forgets them after a week without
        # a group member, and a stack that was down for a holiday would count everything again.
        "offsets.retention.minutes": _NEVER,
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": _PARTITIONS,
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        # A killed broker can only register again when its former session is over: 9 s by default.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        "group.initial.rebalance.delay.ms": "0",
        "log.retention.ms": "-1",
        "log.retention.bytes": "-1",
        # 128 MB by default, a quarter of the heap, for topics of a few MB
        "log.cleaner.dedupe.buffer.size": str(32 * 2**20),
    }


def render(properties: Mapping[str, str]) -> str:
    """A Java properties file."""
    return "".join(f"{key}={value}\n" for key, value in properties.items())


def java_command(
    java: Path, jars: Sequence[Path], main_class: str, *arguments: str, heap: str = "512m"
) -> list[str]:
    """The command that runs a class of Kafka in the broker's folder."""
    return [
        str(java),
        f"-Xmx{heap}",
        # Measured on two cores with 500 MB in and out: a broker only copies bytes. The second compiler and a
        # concurrent collector cost 1.5 s of CPU at each start and 60 MB, and no later request wins that back.
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-XX:-UsePerfData",  # its file would be in /tmp
        "-XX:+ExitOnOutOfMemoryError",  # a restarted broker is better than half a broker
        "-Djava.awt.headless=true",
        f"-Djava.io.tmpdir={TEMPORARY}",  # zstd, snappy and lz4 unpack their native parts there
        f"-Dlog4j2.configurationFile={LOG_CONFIG}",
        "-cp",
        ":".join(map(str, jars)),
        main_class,
        *arguments,
    ]


def java_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without variables that change the JVM, and with file names in UTF-8."""
    foreign = {"JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH", "JAVA_HOME"}
    kept = {name: value for name, value in environment.items() if name not in foreign}
    return kept | {"LC_ALL": "C.UTF-8"}
