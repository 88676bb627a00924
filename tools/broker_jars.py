"""Rewrites fanpulse/devstack/kafka-jars.lock: what Kafka needs, resolved by jgo, with sizes and hashes.

python -m tools.broker_jars           resolve the versions below, download them and write the list
python -m tools.broker_jars --check   exit 1 if the list is not what they resolve to
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import truststore

from fanpulse.devstack.jars import LOCK_LIST
from tools.generated import write_or_check

KAFKA = "4.3.1"
#: kafka-clients is named so that its version is not left to mediation; the last one is the logger.
ROOTS = (
    f"org.apache.kafka:kafka_2.13:{KAFKA}",
    f"org.apache.kafka:kafka-clients:{KAFKA}",
    "org.apache.logging.log4j:log4j-slf4j-impl:2.25.1",
)
HEAD = """\
# The jars of the embedded broker: coordinate, bytes, SHA-256. A jar that differs is not run.
# Made by `python -m tools.broker_jars`; do not edit.
"""


def lines(folder: Path, roots: Sequence[str] = ROOTS) -> list[str]:
    """A line for each jar that the roots need, sorted; downloads into the folder."""
    from jgo.maven import MavenContext, PythonResolver

    context: Any = MavenContext(resolver=PythonResolver(), repo_cache=folder)
    dependencies = [context.create_dependency(root) for root in roots]
    inputs, transitive = context.resolver.resolve(dependencies)
    needed = [*inputs, *(each for each in transitive if each.scope in ("compile", "runtime"))]
    return sorted({_line(each.artifact) for each in needed})


def _line(artifact: Any) -> str:
    content = Path(artifact.resolve()).read_bytes()
    coordinate = f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}"
    return f"{coordinate} {len(content)} {hashlib.sha256(content).hexdigest()}\n"


def main(arguments: list[str]) -> int:
    """Exit status: 0, or 1 if the list is not current."""
    truststore.inject_into_ssl()
    with tempfile.TemporaryDirectory() as folder:
        text = HEAD + "".join(lines(Path(folder)))
    return write_or_check({LOCK_LIST: text}, "tools.broker_jars", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
