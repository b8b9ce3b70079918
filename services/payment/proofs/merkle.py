"""The leaves of checkpoints in the Merkle tree: the heads of accounts, in the order of account IDs.

data = account uuid | sequence i64 | head 32
"""

from __future__ import annotations

from struct import Struct

_sequence = Struct(">q").pack


def head_leaf(account_id: str, sequence: int, head: bytes) -> bytes:
    """Return the data of an account's leaf."""
    return bytes.fromhex(account_id.replace("-", "")) + _sequence(sequence) + head
