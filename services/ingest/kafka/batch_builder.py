"""Kafka record batches, compressed where it suits us.

aiokafka compresses a batch in the event loop at the moment it is sent, under load a sixth of all that
ingest does. Here a batch is drafted in the event loop, finished (compressed) in any thread, and handed to
aiokafka ready: it adds its producer id and sequence number to the header, which are not compressed.
Nor is aiokafka's builder of batches used: it sums what is not compressed yet, under the interpreter's lock.
"""

from __future__ import annotations

import struct
import time

import cramjam
from aiokafka.codec import snappy_encode
from aiokafka.producer.message_accumulator import BatchBuilder as AiokafkaBuilder
from aiokafka.record.util import calc_crc32c, encode_varint

#: Uncompressed bytes of a batch. Brokers refuse batches over 1,048,588 bytes by default.
BATCH_BYTES = 1_000_000
_MAGIC = 2
_SNAPPY, _ZSTD = 2, 4
_ZSTD_LEVEL = 3
#: Smaller batches are packed by snappy. zstd sets up more memory than they have bytes, each time: a
#: fourteenth of what a request of one event costs.
_SMALL_BYTES = 16 * 1024
#: Record batch header, version 2: base offset, length, leader epoch, magic, CRC-32C, attributes, last offset
#: delta, first and last timestamp, producer id and epoch, base sequence, number of records.
_HEADER = struct.Struct(">qiibIhiqqqhii")
_CRC_AT, _AFTER_LENGTH, _AFTER_CRC = 17, 12, 21
_NO_HEADERS = b"\0"


class Batch(AiokafkaBuilder):  # type: ignore[misc]
    """A finished batch, as aiokafka's accumulator and sender use it."""

    def __init__(self, payload: bytes, attributes: int, count: int, timestamp_ms: int) -> None:
        self._payload = payload
        self._attributes = attributes
        self._count = count
        self._timestamp_ms = timestamp_ms
        self._producer = (-1, -1, 0)
        self._buffer: bytearray | None = None
        self._closed = True

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        assert self._buffer is None
        self._producer = (producer_id, producer_epoch, base_sequence)

    def _build(self) -> bytearray:
        if self._buffer is None:
            now = self._timestamp_ms
            size = _HEADER.size + len(self._payload)
            buffer = bytearray(_HEADER.size)
            _HEADER.pack_into(
                buffer,
                0,
                *(0, size - _AFTER_LENGTH, -1, _MAGIC, 0, self._attributes, self._count - 1, now, now),
                *(*self._producer, self._count),
            )
            buffer += self._payload
            struct.pack_into(">I", buffer, _CRC_AT, calc_crc32c(buffer[_AFTER_CRC:]))
            self._buffer, self._payload = buffer, b""
        return self._buffer

    def size(self) -> int:
        """Bytes on the wire."""
        return _HEADER.size + len(self._payload) if self._buffer is None else len(self._buffer)

    def record_count(self) -> int:
        """Number of records."""
        return self._count


class BatchBuilder:
    """A batch that takes records."""

    def __init__(self) -> None:
        self._timestamp_ms = time.time_ns() // 1_000_000
        self._parts: list[bytes | bytearray] = []
        self._size = 0
        self.count = 0

    def append(self, key: bytes | None, value: bytes) -> bool:
        """Add a record; False if there is no room for it. The first record always fits."""
        # Record, version 2: length, attributes, timestamp delta, offset delta, length of the key and the key,
        # length of the value and the value, number of headers; lengths are zigzag varints, -1 for no key.
        head = bytearray(2)
        encode_varint(self.count, head.append)
        encode_varint(-1 if key is None else len(key), head.append)
        head += key or b""
        encode_varint(len(value), head.append)
        length = bytearray()
        encode_varint(len(head) + len(value) + len(_NO_HEADERS), length.append)
        size = len(length) + len(head) + len(value) + len(_NO_HEADERS)
        if self.count and self._size + size > BATCH_BYTES - _HEADER.size:
            return False
        self._parts += (length, head, value, _NO_HEADERS)
        self._size += size
        self.count += 1
        return True

    def size(self) -> int:
        """Bytes before compression."""
        return self._size

    def finish(self) -> Batch:
        """Compress. May run in another thread, once, when nothing is appended any more."""
        records = b"".join(self._parts)
        self._parts.clear()
        if len(records) < _SMALL_BYTES:
            codec, packed = _SNAPPY, snappy_encode(records)
        else:
            codec, packed = _ZSTD, bytes(cramjam.zstd.compress(records, level=_ZSTD_LEVEL))
        if len(packed) < len(records):
            return Batch(packed, codec, self.count, self._timestamp_ms)
        return Batch(records, 0, self.count, self._timestamp_ms)
