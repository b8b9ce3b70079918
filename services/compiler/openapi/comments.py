"""Comments of the .proto files, as descriptions."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from services.shared.descriptors import DESCRIPTORS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from services.compiler.contract import Contract

FILE_FIELDS = (("message_type", 4), ("enum_type", 5), ("service", 6))
"""What a file declares, and by which field numbers SourceCodeInfo refers to it."""
MESSAGE_FIELDS = (("field", 2), ("nested_type", 3), ("enum_type", 4), ("oneof_decl", 8))
ENUM_FIELDS = (("value", 2),)
SERVICE_FIELDS = (("method", 2),)
LINT_DIRECTIVE = re.compile(r"^ *buf:lint:.*$\n?", re.MULTILINE)
SNAKE_CASE = re.compile(r"`([a-z][a-z0-9]*(?:_[a-z0-9]+)+)`")


class CommentError(Exception):
    """The .proto files cannot be read, or a comment refers to something that does not exist."""


def read_comments(protos: Path, contract: Contract) -> Mapping[str, str]:
    """Return the comments of all .proto files in a folder by full name, with the fields' names as JSON has them.

    The descriptor set that the services carry has none. Raises CommentError.
    """
    from grpc_tools import protoc  # noqa: PLC0415 - what runs in containers has no need of it

    names = sorted(str(path.relative_to(protos)) for path in protos.rglob("*.proto"))
    with tempfile.NamedTemporaryFile() as image:
        output = (f"--descriptor_set_out={image.name}", "--include_source_info")
        if protoc.main(["protoc", f"-I{protos}", f"--descriptor_set_in={DESCRIPTORS}", *output, *names]) != 0:
            raise CommentError(f"protoc cannot read {protos}")
        files = FileDescriptorSet.FromString(Path(image.name).read_bytes()).file
    comments = {name: comment for file in files for name, comment in _file(file)}
    json_names = {
        field.name: field.json_name
        for name in comments
        if "." in name and (field := _field(contract, name)) is not None
    }
    return {name: _with_json_names(comment, json_names) for name, comment in comments.items()}


def _field(contract: Contract, full_name: str) -> Any:
    try:
        return contract.pool.FindFieldByName(full_name)
    except KeyError:
        return None


def _with_json_names(comment: str, json_names: Mapping[str, str]) -> str:
    return SNAKE_CASE.sub(lambda found: f"`{json_names.get(found[1], found[1])}`", comment)


def _file(file: Any) -> Iterator[tuple[str, str]]:
    located = {tuple(location.path): location for location in file.source_code_info.location}
    for path, full_name in _declared(file, FILE_FIELDS, (), file.package):
        location = located.get(path)
        if location is not None:
            text = LINT_DIRECTIVE.sub("", location.leading_comments or location.trailing_comments)
            yield full_name, "\n".join(line.removeprefix(" ").rstrip() for line in text.splitlines()).strip()


def _declared(
    parent: Any, fields: tuple[tuple[str, int], ...], path: tuple[int, ...], name: str
) -> Iterator[tuple[tuple[int, ...], str]]:
    """Yield the path and the full name of everything declared in `parent`."""
    inner = {"message_type": MESSAGE_FIELDS, "nested_type": MESSAGE_FIELDS, "enum_type": ENUM_FIELDS}
    inner["service"] = SERVICE_FIELDS
    for kind, number in fields:
        for index, declared in enumerate(getattr(parent, kind)):
            full_name = f"{name}.{declared.name}"
            yield (*path, number, index), full_name
            yield from _declared(declared, inner.get(kind, ()), (*path, number, index), full_name)
