"""The partition of a key, by Java's default partitioner, which librdkafka calls `murmur2_random`."""

from __future__ import annotations

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Compute Austin Appleby's MurmurHash2 with Java's seed, as an unsigned 32-bit number.

    Source: `org.apache.kafka.common.utils.Utils.murmur2`.
    """
    length = len(data)
    h = _SEED ^ length
    whole = length & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * _M & _MASK
        k = (k ^ (k >> 24)) * _M & _MASK
        h = (h * _M & _MASK) ^ k
    if whole < length:
        h = (h ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    h = (h ^ (h >> 13)) * _M & _MASK
    return h ^ (h >> 15)


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of `key`, 0 to `partitions` - 1."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
