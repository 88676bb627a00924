"""The jars of the baseline: those of the embedded broker, and a few more with their own lock file.

    python -m bench.kafka_streams.jars     write jars.lock again

Kafka's clients are the broker's own jar, so broker, clients and Streams are of one version.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from fanpulse.devstack.jars import Jar, class_path, read_list
from tools.broker_jars import KAFKA, lines

LOCK_LIST = Path(__file__).with_name("jars.lock")
COMPILER = "org.eclipse.jdt:ecj"
ROOTS = (f"org.apache.kafka:kafka-streams:{KAFKA}", f"{COMPILER}:3.46.0")
HEAD = """\
# The jars of the Kafka Streams baseline besides the broker's: coordinate, bytes, SHA-256.
# Made by `python -m bench.kafka_streams.jars`; do not edit.
"""


def run_time() -> list[Path]:
    """The class path of the baseline, downloaded if needed. Raises JarError."""
    return class_path() + class_path(jars=_without_compiler())


def compiler() -> Path:
    """The Eclipse compiler, which runs on a Java runtime that has no compiler. Raises JarError."""
    rest = _without_compiler()
    return class_path(jars=tuple(jar for jar in read_list(LOCK_LIST) if jar not in rest))[0]


def _without_compiler() -> tuple[Jar, ...]:
    return tuple(jar for jar in read_list(LOCK_LIST) if f"{jar.group}:{jar.artifact}" != COMPILER)


def main() -> int:
    """Resolve the versions above and write the list, without what the broker has in any version."""
    import truststore

    truststore.inject_into_ssl()
    broker = {f"{jar.group}:{jar.artifact}" for jar in read_list()}
    with tempfile.TemporaryDirectory() as folder:
        found = lines(Path(folder), ROOTS)
    LOCK_LIST.write_text(HEAD + "".join(line for line in found if line.rpartition(":")[0] not in broker))
    return 0


if __name__ == "__main__":
    sys.exit(main())
