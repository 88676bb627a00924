"""Records that the broker rejects for their size are divided, down to single events.

The settings of the topics are compared at the start, so this is for a broker that does not show them, or a
setting that was changed since.
"""

from __future__ import annotations

import msgspec

from services.ingest.kafka.producer import Batch, RecordProducer, TooLargeError

_ENTRIES = msgspec.json.Decoder(list[msgspec.Raw])


async def write_divided(
    producer: RecordProducer, topic: str, partition: int, key: bytes | None, data: bytes, count: int
) -> int:
    """Write ``data`` in as many records as it takes; returns the bytes of the largest that is not written.

    ``count``: entries of a JSON array in it, without its brackets; 0: it is a record as it is. 0 is returned
    if all is written. Raises DeliveryError.
    """
    value = b"[%b]" % data if count else data
    try:
        await producer.write([Batch(topic, partition, [(key, value)])])
    except TooLargeError:
        if count < 2:
            return len(value)
    else:
        return 0
    entries = [bytes(each) for each in _ENTRIES.decode(value)]
    middle, most = len(entries) // 2, 0
    for part in (entries[:middle], entries[middle:]):
        lost = await write_divided(producer, topic, partition, key, b",".join(part), len(part))
        most = max(most, lost)
    return most
