"""The Merkle tree of RFC 6962 (section 2.1) and RFC 9162.

    leaf = SHA-256(00 | data)
    node = SHA-256(01 | left 32 | right 32)

The prefixes keep leaves and nodes apart: no node can be presented as a leaf.
"""

from __future__ import annotations

from hashlib import sha256

LEAF = b"\x00"
NODE = b"\x01"
EMPTY_ROOT = sha256().digest()


class MerkleTree:
    """A tree that grows leaf by leaf and keeps nothing but the roots of its complete subtrees, the largest first."""

    def __init__(self, size: int = 0, roots: list[bytes] | None = None) -> None:
        self.size = size
        self.roots = list(roots or [])

    def append(self, data: bytes) -> None:
        """Append a leaf."""
        digest, subtrees = sha256(LEAF + data).digest(), self.size
        while subtrees & 1:
            digest = _node(self.roots.pop(), digest)
            subtrees >>= 1
        self.roots.append(digest)
        self.size += 1

    def root(self) -> bytes:
        """Return the root."""
        if not self.roots:
            return EMPTY_ROOT
        digest = self.roots[-1]
        for left in reversed(self.roots[:-1]):
            digest = _node(left, digest)
        return digest


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(NODE + left + right).digest()
