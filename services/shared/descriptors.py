"""The descriptor set of azora-protos."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from google.protobuf.descriptor_pb2 import FileDescriptorSet

DESCRIPTORS = files("azora") / "descriptors.binpb"


@cache
def descriptor_set() -> FileDescriptorSet:
    """Read all descriptors, whichever of the modules of azora-protos were imported."""
    return FileDescriptorSet.FromString(DESCRIPTORS.read_bytes())
