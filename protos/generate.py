"""Compiles the contracts: stubs, types and the descriptor set, into generated/. Run by `make generate`.

protoc comes from grpcio-tools; google/api from googleapis-common-protos; buf/validate from the protovalidate wheel,
which carries it as a descriptor only, so it is handed to protoc as a descriptor set.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, duration_pb2, timestamp_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc
from protovalidate._gen.buf.validate import validate_pb

PROTOS = Path(__file__).parent
VALIDATE = "buf/validate/validate.proto"
# Types that an error's details may hold: Envoy prints details as JSON only if it knows their types.
DETAILS = ("google/rpc/error_details.proto", "google/rpc/status.proto", "google/api/httpbody.proto")


def main() -> None:
    """Write everything that is compiled from protos/ below the given folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("out", type=Path, nargs="?", default=PROTOS.parent / "generated")
    parser.add_argument("--image", type=Path, help="also write the descriptor set with its comments, for buf")
    arguments = parser.parse_args()
    out: Path = arguments.out
    contracts = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        known = Path(folder) / "validate.binpb"
        known.write_bytes(_validate_descriptors())
        messages = (f"--python_out={out}", f"--mypy_out=quiet:{out}")
        mypy_grpc = "generate_concrete_servicer_stubs,quiet"
        stubs = (f"--grpc_python_out={out}", f"--mypy_grpc_out={mypy_grpc}:{out}")
        _protoc(known, *messages, *contracts, VALIDATE)
        _protoc(known, *stubs, *(name for name in contracts if name.endswith("_service.proto")))
        _protoc(
            known, "--include_imports", f"--descriptor_set_out={out / 'azora/descriptors.binpb'}", *contracts, *DETAILS
        )
        if arguments.image:
            _protoc(
                known,
                "--include_imports",
                "--include_source_info",
                f"--descriptor_set_out={arguments.image}",
                *contracts,
            )


def _protoc(known: Path, *arguments: str) -> None:
    google_api = Path(str(annotations_pb2.__file__)).parents[2]
    paths = [f"-I{include}" for include in (PROTOS, google_api, files("grpc_tools") / "_proto")]
    plugins = [
        f"--plugin=protoc-gen-{name}={Path(sys.executable).parent / f'protoc-gen-{name}'}"
        for name in ("mypy", "mypy_grpc")
    ]
    if protoc.main(["protoc", *paths, *plugins, f"--descriptor_set_in={known}", *arguments]) != 0:
        raise SystemExit("protoc refused the contracts: see above")


def _validate_descriptors() -> bytes:
    descriptors = FileDescriptorSet()
    for module in (descriptor_pb2, duration_pb2, timestamp_pb2):
        module.DESCRIPTOR.CopyToProto(descriptors.file.add())
    descriptors.file.add().ParseFromString(validate_pb._DESC.proto.to_binary())
    return descriptors.SerializeToString()


if __name__ == "__main__":
    main()
