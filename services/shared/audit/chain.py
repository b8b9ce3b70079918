"""The bytes that seals cover, and SHA-256 over them.

Version 1. All integers are big-endian; `text` is its length in bytes as u32 and its UTF-8; `uuid` is its 16 bytes, an
absent one 16 zeros; `time` is microseconds since 1970 as i64.

    origin = SHA-256(01 | "O" | salt 16 | address text | user_agent text)
    event  = 01 | "E" | id uuid | action text | outcome text | reason text | user uuid | session uuid | service text
             | target text | count i64 | trace_id text | origin 32 (zeros without one) | create_time time
    root   = Merkle tree (RFC 6962) of a seal's events in the order of their ids
    seal   = SHA-256(01 | "S" | seal before 32 | number i64 | first uuid | last uuid | count i64 | root 32
             | create_time time)

The seal before the first one is 32 zeros.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from struct import Struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.shared.audit.model import AuditEvent, Seal

VERSION = b"\x01"
NO_ID = bytes(16)
NO_DIGEST = bytes(32)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

_u32 = Struct(">I").pack
_i64 = Struct(">q").pack


def origin_digest(salt: bytes, address: str, user_agent: str) -> bytes:
    """Return the digest by which an event covers its origin."""
    return sha256(VERSION + b"O" + salt + _text(address) + _text(user_agent)).digest()


def event_bytes(event: AuditEvent, create_time: datetime) -> bytes:
    """Return the bytes of an event."""
    covered = (
        VERSION,
        b"E",
        _uuid(event.id),
        _text(event.action),
        _text(event.outcome),
        _text(event.reason),
        _uuid(event.user_id),
        _uuid(event.session_id),
        _text(event.service),
        _text(event.target),
        _i64(event.count),
        _text(event.trace_id),
        event.origin_digest or NO_DIGEST,
        _microseconds(create_time),
    )
    return b"".join(covered)


def seal_hash(seal: Seal) -> bytes:
    """Return the hash of a seal, from what it says and not from the hash that it has."""
    covered = (
        VERSION,
        b"S",
        seal.previous,
        _i64(seal.number),
        _uuid(seal.first_id),
        _uuid(seal.last_id),
        _i64(seal.count),
        seal.root,
        _microseconds(seal.create_time),
    )
    return sha256(b"".join(covered)).digest()


def _text(value: str) -> bytes:
    encoded = value.encode()
    return _u32(len(encoded)) + encoded


def _uuid(value: str | None) -> bytes:
    return bytes.fromhex(value.replace("-", "")) if value else NO_ID


def _microseconds(time: datetime) -> bytes:
    return _i64((time - EPOCH) // MICROSECOND)
