"""The OpenAPI document is true: Envoy takes what it describes, calls what it names and answers what it promises."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
import protovalidate
import pytest
from azora.auth.v1 import user_pb2
from azora.payment.v1 import wallet_service_pb2
from azora.type.v1 import heartbeat_pb2
from buf.validate import validate_pb2
from google.protobuf.json_format import ParseDict
from google.protobuf.message_factory import GetMessageClass
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from services.compiler.contract import OPENAPI
from services.compiler.openapi.routes import bindings
from tests.support.edge import CONTRACT, error_info

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import httpx

    from services.compiler.envoy.typed import Json
    from tests.support.edge import Edge, Received

pytestmark = pytest.mark.asyncio(loop_scope="session")

DOCUMENT: Json = json.loads(OPENAPI.read_text())
REGISTRY: Registry[Any] = Registry().with_resource(
    "document", Resource.from_contents(DOCUMENT, default_specification=DRAFT202012)
)
WATCH = "/v1/transactions:watch"


def operations() -> Iterator[tuple[str, str, Json]]:
    for path, item in DOCUMENT["paths"].items():
        for verb, operation in item.items():
            yield verb, path, operation


def check(value: Any, pointer: str) -> None:
    """Check a value against the schema at a place of the document."""
    validator = jsonschema.Draft202012Validator({"$ref": f"document#{pointer}"}, registry=REGISTRY)
    validator.validate(value)


def success(path: str, verb: str, media_type: str = "application/json") -> str:
    place = "/".join(part.replace("~", "~0").replace("/", "~1") for part in ("paths", path, verb))
    return f"/{place}/responses/200/content/{media_type.replace('/', '~1')}/schema"


def resolved(part: Json) -> Json:
    found: Any = DOCUMENT
    for key in part["$ref"].removeprefix("#/").split("/") if "$ref" in part else ():
        found = found[key]
    return found if "$ref" in part else part


def example(schema: Json) -> str:
    schema = resolved(schema)
    if "examples" in schema:
        return str(schema["examples"][0])
    if "enum" in schema:
        return str(schema["enum"][-1])
    return {"integer": "1", "boolean": "true", "number": "1"}.get(schema["type"], "")


def request(verb: str, path: str, operation: Json) -> tuple[str, str, Json]:
    """Return the method, path and arguments of a request as a reader of the document would make it."""
    parameters = [resolved(parameter) for parameter in operation.get("parameters", ())]
    for parameter in parameters:
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", example(parameter["schema"]))
    query = {each["name"]: example(each["schema"]) for each in parameters if each["in"] == "query"}
    headers = {each["name"]: "a-key" for each in parameters if each["in"] == "header"}
    arguments: Json = {"params": query, "headers": headers}
    if "requestBody" in operation:
        ((media_type, content),) = operation["requestBody"]["content"].items()
        encoding = "json" if media_type == "application/json" else "data"
        arguments[encoding] = content.get("example", {} if encoding == "json" else {"token": "a-token"})
    return verb.upper(), path, arguments


async def everything(call: Received, _context: Any) -> bytes:
    """Answer with a message that has messages in all its fields, and the least values that rules allow in these."""
    message = GetMessageClass(CONTRACT.methods[call.path].output_type)()
    fill(message)
    return bytes(message.SerializeToString())


def fill(message: Any) -> None:
    for field in message.DESCRIPTOR.fields:
        if field.containing_oneof and message.WhichOneof(field.containing_oneof.name):
            continue
        if field.message_type and field.message_type.GetOptions().map_entry:
            getattr(message, field.name)["key"] = "value"  # No map of a response has messages.
        elif field.message_type and not field.message_type.full_name.startswith("google.protobuf."):
            inner = getattr(message, field.name)
            inner = inner.add() if field.is_repeated else inner
            inner.SetInParent()
            fill(inner)
        elif field.name == "currency":
            message.currency = "AZR"  # No other text of a response has a pattern.
        elif not field.is_repeated and (least := least_value(field)):
            setattr(message, field.name, least)


def least_value(field: Any) -> Any:
    """Return the shortest text or lowest number that a field's rules allow, if they do not allow the default."""
    rules = field.GetOptions().Extensions[validate_pb2.field]
    return "x" * rules.string.min_len or rules.int32.gte


async def test_every_operation_calls_its_rpc_and_answers_as_it_says(http: httpx.AsyncClient, edge: Edge) -> None:
    called = []
    for verb, path, operation in operations():
        edge.forget()
        rpc = operation["x-azora-policy"]["rpc"]
        replicas = edge.replicas[rpc.split(".")[1]]
        for replica in replicas:
            replica.answers[rpc.rpartition("/")[2]] = everything
        method, url, arguments = request(verb, path, operation)
        arguments["headers"] |= edge.bearer()
        answer = await http.request(method, url, **arguments)
        assert answer.status_code == 200, f"{method} {url}: {answer.text}"
        assert rpc in {call.path for replica in replicas for call in replica.received}
        called.append(rpc)
        policy = CONTRACT.policies[rpc]
        if not policy.response_content_types and not policy.watch:
            check(answer.json(), success(path, verb))
    public = {path for path, policy in CONTRACT.policies.items() if policy.tier and not policy.internal}
    assert set(called) == {path for path in public if any(bindings(CONTRACT.methods[path]))}


async def test_bodies_that_are_optional_may_be_left_out(http: httpx.AsyncClient, edge: Edge) -> None:
    for verb, path, operation in operations():
        if operation.get("requestBody", {"required": True})["required"]:
            continue
        method, url, arguments = request(verb, path, operation)
        answer = await http.request(method, url, headers=edge.bearer(), params=arguments["params"])
        assert answer.status_code == 200, f"{method} {url}: {answer.text}"


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_a_stream_is_of_the_media_types_and_messages_that_are_listed(
    http: httpx.AsyncClient, edge: Edge, accept: str
) -> None:
    async def watched(_call: Any, _context: Any) -> AsyncIterator[bytes]:
        for sequence in (1, 2):
            heartbeat = heartbeat_pb2.Heartbeat(sequence=sequence)
            yield wallet_service_pb2.WatchTransactionsResponse(heartbeat=heartbeat).SerializeToString()

    edge.replicas["payment"][0].streams["WatchTransactions"] = watched
    answer = await http.get(WATCH, headers=edge.bearer() | {"accept": accept})
    content = DOCUMENT["paths"][WATCH]["get"]["responses"]["200"]["content"]
    media_type = answer.headers["content-type"].partition(";")[0]
    assert media_type in content
    messages = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line]
    assert len(messages) == 2
    for message in messages:
        check(message, success(WATCH, "get", media_type))


async def test_envoys_own_refusals_have_the_shape_of_errors(http: httpx.AsyncClient) -> None:
    refused = await http.get("/v1/wallet")
    response = resolved(DOCUMENT["paths"]["/v1/wallet"]["get"]["responses"][str(refused.status_code)])
    check(refused.json(), "/components/schemas/google.rpc.Status")
    assert error_info(refused.json())["reason"] in response["content"]["application/json"]["examples"]


async def test_examples_are_valid() -> None:
    for _, path, operation in operations():
        method = CONTRACT.methods[operation["x-azora-policy"]["rpc"]]
        content = operation.get("requestBody", {"content": {}})["content"].get("application/json")
        if content is None or "example" not in content:
            continue
        (binding, *_) = [each for each in bindings(method) if each.template == path and each.body]
        body = content["example"] if binding.body == "*" else {binding.body: content["example"]}
        in_path = {
            parameter["name"]: example(parameter["schema"])
            for parameter in map(resolved, operation.get("parameters", ()))
            if parameter["in"] == "path"
        }
        parsed = ParseDict(body | in_path, GetMessageClass(method.input_type)())
        protovalidate.validate(parsed)
        validator = jsonschema.Draft202012Validator({"$ref": f"document{content['schema']['$ref']}"}, registry=REGISTRY)
        validator.validate(content["example"])


async def test_examples_of_errors_are_errors() -> None:
    for reason, error in DOCUMENT["components"]["examples"].items():
        check(error["value"], "/components/schemas/google.rpc.Status")
        assert error_info(error["value"])["reason"] == reason


async def test_fields_of_responses_are_those_of_the_message() -> None:
    schema = DOCUMENT["components"]["schemas"]["azora.auth.v1.User"]
    assert set(schema["properties"]) == {field.json_name for field in user_pb2.User.DESCRIPTOR.fields}
