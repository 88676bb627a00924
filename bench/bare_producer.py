"""The baseline of ingest: a confluent-kafka producer that writes the same events with the same guarantees.

``python -m bench.bare_producer BOOTSTRAP TOPIC --events N --batch M`` prints its figures as JSON. It
reads no HTTP, validates nothing and enriches nothing: the events go out as they are, in records of `batch`
events, round-robin over all partitions, idempotent and acknowledged by all.
"""

from __future__ import annotations

import argparse
import json
import time

from confluent_kafka import Producer

from bench.events import interactions


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.bare_producer", description=__doc__)
    parser.add_argument("bootstrap")
    parser.add_argument("topic")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--batch", type=int, default=125, help="events in a record")
    arguments = parser.parse_args()
    events = interactions(100_000, seed=9)
    records = [
        b"[" + b",".join(events[at : at + arguments.batch]) + b"]"
        for at in range(0, len(events), arguments.batch)
    ]
    producer = Producer(
        {
            "bootstrap.servers": arguments.bootstrap,
            "enable.idempotence": True,
            "acks": "all",
            "compression.type": "zstd",
            "linger.ms": 5,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    failed = 0

    def delivered(error: object, _message: object) -> None:
        nonlocal failed
        failed += error is not None

    started, cpu = time.perf_counter(), time.process_time()
    for number in range(arguments.events // arguments.batch):
        while True:
            try:
                producer.produce(
                    arguments.topic,
                    records[number % len(records)],
                    partition=number % arguments.partitions,
                    on_delivery=delivered,
                )
                break
            except BufferError:
                producer.poll(0.01)
        producer.poll(0)
    if producer.flush(60) or failed:
        raise SystemExit("not everything was delivered")
    seconds = time.perf_counter() - started
    sent = arguments.events // arguments.batch * arguments.batch
    print(
        json.dumps(
            {
                "events": sent,
                "seconds": seconds,
                "per_s": sent / seconds,
                "cpu_seconds": time.process_time() - cpu,
            }
        )
    )


if __name__ == "__main__":
    main()
