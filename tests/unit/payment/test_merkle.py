"""The Merkle tree and the signed note, by the published vectors and a plain recursive definition."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.payment.proofs import note
from services.shared.merkle import MerkleTree

LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = {
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}
"""Of Certificate Transparency's reference implementation."""


def tree_of(leaves: list[bytes]) -> MerkleTree:
    tree = MerkleTree()
    for leaf in leaves:
        tree.append(leaf)
    return tree


def root_of(leaves: list[bytes]) -> bytes:
    """Return the root as RFC 6962 defines it."""
    if len(leaves) < 2:
        return sha256(b"\x00" + leaves[0]).digest() if leaves else sha256().digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\x01" + root_of(leaves[:split]) + root_of(leaves[split:])).digest()


@pytest.mark.parametrize("size", ROOTS)
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    assert tree_of([bytes.fromhex(leaf) for leaf in LEAVES[:size]]).root().hex() == ROOTS[size]


def test_a_tree_of_any_size_is_what_the_rfc_defines_and_can_be_resumed() -> None:
    leaves = [bytes([number]) for number in range(70)]
    for size in range(70):
        tree = tree_of(leaves[:size])
        assert tree.root() == root_of(leaves[:size])
        resumed = MerkleTree(tree.size, tree.roots)
        resumed.append(leaves[size])
        assert resumed.root() == root_of(leaves[: size + 1])


def body(**changes: object) -> note.CheckpointBody:
    fields = {
        "origin": "example.org/ledger",
        "size": 3,
        "root": bytes(32),
        "number": 7,
        "time": datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC),
        "previous": bytes(32),
    } | changes
    return note.CheckpointBody(**fields)  # type: ignore[arg-type]


def test_a_note_is_verified_by_its_key_and_by_no_other() -> None:
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    verifier = note.verifier_key("example.org/ledger", key.public_key().public_bytes_raw())
    signed = note.sign(body(), key)
    assert note.verify(signed, verifier)
    assert note.read(signed) == body()
    assert not note.verify(signed, note.verifier_key("example.org/ledger", other.public_key().public_bytes_raw()))
    assert not note.verify(signed, note.verifier_key("example.org", key.public_key().public_bytes_raw()))
    assert not note.verify(note.sign(body(origin="example.com/ledger"), key), verifier)
    for changed in (signed.replace("number 7", "number 8"), signed.replace("\n3\n", "\n4\n"), signed[:-5], "", "\n\n"):
        assert not note.verify(changed, verifier)
    assert not note.verify(signed, "nonsense")
    assert not note.verify(signed, verifier[:-4])


def test_the_key_hash_is_the_formats() -> None:
    """The example of golang.org/x/mod/sumdb/note."""
    verifier = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    name, digest, public = note._parsed(verifier)
    assert note.key_hash(name, public).hex() == digest == "c74f20a3"


@pytest.mark.parametrize("text", ["", "a\n1\n", "a\nb\nc\nnumber 1\ntime x\nprevious \n\n", "a\n1\n!\nnumber 1\n\n"])
def test_what_is_no_checkpoint_is_not_read(text: str) -> None:
    with pytest.raises(note.NoteInvalid):
        note.read(text)
