"""The real grpc-gateway, compiled from the contract: another way from JSON to gRPC, to compare Envoy with."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from google.api import annotations_pb2

from services.compiler.contract import load_contract
from services.shared.descriptors import DESCRIPTORS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import ServiceDescriptor

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "tests/tools/grpc_gateway"
"""The program and its modules, pinned by hash."""
MODULE = "azora.dev"
SCRATCH = ROOT / ".tools/grpc-gateway"
"""Where it is compiled: always the same folder, so that what has not changed comes from Go's cache."""
COMPILE_SECONDS = 600


def build() -> Path:
    """Generate and compile grpc-gateway for every RPC with an HTTP route. Return the program."""
    shutil.rmtree(SCRATCH, ignore_errors=True)
    shutil.copytree(SOURCE, SCRATCH)
    _generate(SCRATCH)
    (SCRATCH / "handlers.go").write_text(_handlers())
    _run("go", "build", "-buildvcs=false", "-o", "gateway", ".", folder=SCRATCH)
    return SCRATCH / "gateway"


@contextmanager
def running(program: Path, target: str) -> Iterator[str]:
    """Run the program in front of a gRPC address. Give its URL."""
    with subprocess.Popen([program, target], stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
        try:
            assert process.stdout
            address = process.stdout.readline().strip()
            assert address, "grpc-gateway did not start: see its errors above"
            yield f"http://{address}"
        finally:
            process.terminate()


def _generate(folder: Path) -> None:
    files = sorted(str(path.relative_to(ROOT / "protos")) for path in (ROOT / "protos").rglob("*.proto"))
    files.append("buf/validate/validate.proto")
    packages = [f"M{name}={_package(name)}" for name in files]
    for plugin, options in (
        ("go", ()),
        ("go-grpc", ()),
        ("grpc-gateway", ("allow_delete_body=true",)),  # A password must not stand in a URL.
    ):
        _run(
            *(sys.executable, "-m", "grpc_tools.protoc", f"--descriptor_set_in={DESCRIPTORS}"),
            f"--plugin=protoc-gen-{plugin}={ROOT / '.tools' / f'protoc-gen-{plugin}'}",
            f"--{plugin}_out={folder}",
            *(f"--{plugin}_opt={option}" for option in (f"module={MODULE}", *packages, *options)),
            *(files if plugin == "go" else [name for name in files if name.endswith("_service.proto")]),
        )


def _package(file: str) -> str:
    """Return the Go package of a .proto file, and its name: one per folder."""
    return f"{MODULE}/{Path(file).parent};{'_'.join(Path(file).parts[-3:-1])}"


def _handlers() -> str:
    """Return the Go source that lists what serves the routes of each gRPC service."""
    bound = [service for service in load_contract().declared if _has_routes(service)]
    packages = {_package(service.file.name).partition(";")[::2] for service in bound}
    lines = [
        "package main",
        'import ("context"; "github.com/grpc-ecosystem/grpc-gateway/v2/runtime"; "google.golang.org/grpc")',
        *(f'import {name} "{path}"' for path, name in sorted(packages)),
        "var handlers = []func(context.Context, *runtime.ServeMux, *grpc.ClientConn) error{",
        *(f"{_package(service.file.name).partition(';')[2]}.Register{service.name}Handler," for service in bound),
        "}",
    ]
    return "\n".join(lines)


def _has_routes(service: ServiceDescriptor) -> bool:
    return any(method.GetOptions().HasExtension(annotations_pb2.http) for method in service.methods)


def _run(*arguments: str | Path, folder: Path | None = None) -> None:
    ended = subprocess.run(  # noqa: S603 - our own tools
        arguments, cwd=folder, check=False, capture_output=True, text=True, timeout=COMPILE_SECONDS
    )
    assert ended.returncode == 0, ended.stderr
