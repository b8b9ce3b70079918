"""Checkpoints as signed notes, in the formats of C2SP signed-note and tlog-checkpoint, signed with Ed25519.

    example.org/payment/ledger                    origin, and name of the key
    1042                                          number of accounts
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=  root of the Merkle tree of their heads
    number 7                                      of the checkpoint
    time 2026-03-04T05:06:07.000089Z
    previous 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=    SHA-256 of the note before, of nothing for the first

    — example.org/payment/ledger Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo...

What is signed is the text above the empty line, with its last line feed. Tools for signed notes verify it with the
verifier key, "<name>+<key hash>+<base64 of 01 and the public key>".
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ED25519 = b"\x01"
KEY_HASH_BYTES = 4
SIGNATURE_PREFIX = "\u2014 "
ENDORSEMENT = "azora ledger checkpoint key"
NO_NOTE = ""
FIELDS = ("number", "time", "previous")


class NoteInvalid(Exception):
    """The note is not a checkpoint."""


@dataclass(frozen=True, slots=True)
class CheckpointBody:
    """What a checkpoint signs."""

    origin: str
    size: int
    """Number of accounts."""
    root: bytes
    number: int
    time: datetime
    previous: bytes
    """Digest of the note before."""

    def text(self) -> str:
        """Return the signed text."""
        time = self.time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        lines = (
            self.origin,
            str(self.size),
            _base64(self.root),
            f"number {self.number}",
            f"time {time}",
            f"previous {_base64(self.previous)}",
        )
        return "".join(f"{line}\n" for line in lines)


def note_digest(note: str) -> bytes:
    """Return the digest by which the next checkpoint refers to a note."""
    return sha256(note.encode()).digest()


def sign(body: CheckpointBody, key: Ed25519PrivateKey) -> str:
    """Return the signed note of a checkpoint."""
    text = body.text()
    signature = key_hash(body.origin, key.public_key().public_bytes_raw()) + key.sign(text.encode())
    return f"{text}\n{SIGNATURE_PREFIX}{body.origin} {_base64(signature)}\n"


def read(note: str) -> CheckpointBody:
    """Return what a note says, its signature unverified. Raises NoteInvalid."""
    text, _, _ = note.partition("\n\n")
    try:
        origin, size, root, *extensions = text.split("\n")
        fields = [line.partition(" ") for line in extensions]
        number, time, previous = (value for _, _, value in fields)
        body = CheckpointBody(
            origin, int(size), _bytes(root), int(number), datetime.fromisoformat(time), _bytes(previous)
        )
    except (ValueError, binascii.Error):
        raise NoteInvalid from None
    if body.text() != f"{text}\n":
        raise NoteInvalid
    return body


def verify(note: str, verifier: str) -> bool:
    """Whether a note is signed by the key of a verifier key."""
    text, _, signatures = note.partition("\n\n")
    try:
        name, _, public = _parsed(verifier)
        for line in signatures.splitlines():
            owner, _, encoded = line.removeprefix(SIGNATURE_PREFIX).rpartition(" ")
            signature = _bytes(encoded)
            if line.startswith(SIGNATURE_PREFIX) and (owner, signature[:KEY_HASH_BYTES]) == (
                name,
                key_hash(name, public),
            ):
                Ed25519PublicKey.from_public_bytes(public).verify(signature[KEY_HASH_BYTES:], f"{text}\n".encode())
                return read(note).origin == name
    except (NoteInvalid, InvalidSignature, ValueError, binascii.Error):
        return False
    return False


def key_hash(name: str, public_key: bytes) -> bytes:
    """Return the hash by which a signature line names its key."""
    return sha256(f"{name}\n".encode() + ED25519 + public_key).digest()[:KEY_HASH_BYTES]


def verifier_key(name: str, public_key: bytes) -> str:
    """Return the text by which a public key is told to others."""
    return f"{name}+{key_hash(name, public_key).hex()}+{_base64(ED25519 + public_key)}"


def endorse(verifier: str, key: Ed25519PrivateKey) -> bytes:
    """Return the signature of the previous key over a new one."""
    return key.sign(f"{ENDORSEMENT}\n{verifier}\n".encode())


def is_endorsed(verifier: str, endorsement: bytes, by: str) -> bool:
    """Whether a key was endorsed by the one before it."""
    try:
        _, _, public = _parsed(by)
        Ed25519PublicKey.from_public_bytes(public).verify(endorsement, f"{ENDORSEMENT}\n{verifier}\n".encode())
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True


def _parsed(verifier: str) -> tuple[str, str, bytes]:
    name, digest, encoded = verifier.split("+", 2)
    public = _bytes(encoded)
    if not public.startswith(ED25519) or key_hash(name, public[1:]).hex() != digest:
        raise ValueError("not a verifier key")
    return name, digest, public[1:]


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
