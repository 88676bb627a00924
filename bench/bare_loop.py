"""The baseline of counting: a confluent-kafka loop that decodes and counts the same records, no more.

``python -m bench.bare_loop BOOTSTRAP TOPIC PARTITIONS EVENTS`` prints one JSON line.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter

import confluent_kafka
import msgspec


class Event(msgspec.Struct):
    kind: str
    event_id: str = ""
    occurred_at: int = 0
    platform: str = ""
    account: str = ""
    action: str = ""
    quantity: int = 1
    hashtags: tuple[str, ...] = ()


def main() -> None:
    bootstrap, topic, partitions, events = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "bare-loop",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.queue.backoff.ms": 5,
        }
    )
    consumer.assign([confluent_kafka.TopicPartition(topic, p, 0) for p in range(partitions)])
    decode = msgspec.json.Decoder(list[Event]).decode
    accounts: Counter[tuple[str, str, str]] = Counter()
    hashtags: Counter[tuple[str, str]] = Counter()
    ids: set[str] = set()
    seen, started, cpu = 0, 0.0, 0.0
    while seen < events:
        for message in consumer.consume(100, timeout=0.05):
            if not started:
                started, cpu = time.perf_counter(), time.process_time()
            for event in decode(message.value()):
                if event.kind == "clock":
                    continue
                seen += 1
                if event.event_id in ids:
                    continue
                ids.add(event.event_id)
                accounts[event.platform, event.account, event.action] += event.quantity
                for tag in event.hashtags:
                    hashtags[tag, event.action] += event.quantity
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    consumer.close()
    figures = {
        "accounts": sorted([*key, count] for key, count in accounts.items()),
        "hashtags": sorted([*key, count] for key, count in hashtags.items()),
    }
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "figures": figures}))


if __name__ == "__main__":
    main()
