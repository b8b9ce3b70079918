"""The OpenAPI document says what the contract declares, in the words of its comments."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from buf.validate import validate_pb2
from google.api import field_behavior_pb2
from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

from services.compiler.contract import OPENAPI, contract_of, load_contract
from services.compiler.openapi import CommentError, openapi, read_comments
from services.compiler.openapi.schemas import Schemas
from services.shared.descriptors import DESCRIPTORS

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.compiler.envoy.typed import Json

PROTOS = Path(__file__).parents[3] / "protos"
COMMITTED: Json = json.loads(OPENAPI.read_text())
FREEZE = COMMITTED["paths"]["/v1/wallets/{walletId}:freeze"]["post"]


@cache
def comments_of_all() -> dict[str, str]:
    return dict(read_comments(PROTOS, load_contract()))


def property_of(kind: int, declare: Callable[[FieldDescriptorProto], None], *, sent: bool = True) -> tuple[Json, bool]:
    """Return the schema of a field of a message of its own, and whether it is required."""
    file = FileDescriptorProto(name="test.proto", package="test", syntax="proto3")
    field = file.message_type.add(name="Message").field.add(name="the_field", json_name="theField", number=1)
    field.type, field.label = kind, FieldDescriptorProto.LABEL_OPTIONAL  # type: ignore[assignment]
    declare(field)
    pool = DescriptorPool()
    pool.Add(file)
    schemas = Schemas({"test.Message.the_field": "A field."}, frozenset({"test.Message"} if sent else ()))
    schemas.message(pool.FindMessageTypeByName("test.Message"))
    message = schemas.components["test.Message"]
    return message["properties"]["theField"], "theField" in message.get("required", ())


def rule(text: str) -> Callable[[FieldDescriptorProto], None]:
    def declare(field: FieldDescriptorProto) -> None:
        text_format.Parse(text, field.options.Extensions[validate_pb2.field])

    return declare


TEXT, INT32, INT64 = FieldDescriptorProto.TYPE_STRING, FieldDescriptorProto.TYPE_INT32, FieldDescriptorProto.TYPE_INT64
BYTES, BOOL = FieldDescriptorProto.TYPE_BYTES, FieldDescriptorProto.TYPE_BOOL


@pytest.mark.parametrize(
    ("kind", "declared", "expected", "required"),
    [
        (TEXT, "string { min_len: 2 max_len: 5 }", {"minLength": 2, "maxLength": 5}, True),
        (TEXT, "string { len: 3 }", {"minLength": 3, "maxLength": 3}, False),
        (TEXT, "string { max_len: 5 }", {"maxLength": 5}, False),
        (TEXT, "string { uuid: true }", {"format": "uuid"}, True),
        (TEXT, "string { uuid: true } ignore: IGNORE_IF_ZERO_VALUE", {"format": "uuid"}, False),
        (TEXT, 'string { pattern: "^([A-Z]{3})?$" }', {"pattern": "^([A-Z]{3})?$", "examples": ["AZR"]}, False),
        (TEXT, 'string { prefix: "a.b" }', {"pattern": r"^a\.b"}, False),
        (TEXT, 'string { in: "a" in: "b" }', {"enum": ["a", "b"]}, False),
        (TEXT, 'string { const: "a" example: "a" }', {"const": "a", "examples": ["a"]}, False),
        (TEXT, "required: true", {}, True),
        (INT32, "int32 { gte: 0 lt: 9 }", {"minimum": 0, "exclusiveMaximum": 9}, False),
        (INT32, "int32 { gt: 0 lte: 9 }", {"exclusiveMinimum": 0, "maximum": 9}, True),
        (INT32, "int32 { in: 1 in: 2 }", {"enum": [1, 2]}, False),
        (BOOL, "bool { const: true }", {"const": True}, False),
        (INT64, "int64 { gte: 1 }", {"type": "string", "description": "A field.\n\nAt least 1."}, True),
        (BYTES, "bytes { max_len: 9 }", {"description": "A field.\n\nAt most 9 bytes."}, False),
        (
            TEXT,
            "string { max_bytes: 9 }",
            {"maxLength": 9, "description": "A field.\n\nAt most 9 bytes of UTF-8."},
            False,
        ),
        (TEXT, 'cel { message: "must rhyme" }', {"description": "A field.\n\nRule: must rhyme."}, False),
    ],
)
def test_rules_are_keywords_or_words(kind: int, declared: str, expected: Json, *, required: bool) -> None:
    schema, must = property_of(kind, rule(declared))
    assert schema == schema | expected
    assert must is required


def test_lists_have_their_size_and_the_rules_of_their_items() -> None:
    def declare(field: FieldDescriptorProto) -> None:
        field.label = FieldDescriptorProto.LABEL_REPEATED
        rule("repeated { min_items: 1 max_items: 3 unique: true items { string { max_len: 4 } } }")(field)

    schema, required = property_of(TEXT, declare)
    assert schema == schema | {"minItems": 1, "maxItems": 3, "uniqueItems": True}
    assert schema["items"] == {"type": "string", "maxLength": 4}
    assert required


def test_behavior_of_fields_is_told() -> None:
    def declare(field: FieldDescriptorProto) -> None:
        field.options.Extensions[field_behavior_pb2.field_behavior].append(field_behavior_pb2.OUTPUT_ONLY)
        field.options.deprecated = True

    schema, _ = property_of(TEXT, declare)
    assert schema["readOnly"] is schema["deprecated"] is True


def test_fields_of_responses_are_always_there_unless_they_have_presence() -> None:
    _, printed = property_of(TEXT, lambda _: None, sent=False)
    assert printed
    _, sent = property_of(TEXT, lambda _: None, sent=True)
    assert not sent


def test_an_operation_tells_its_policy_and_its_errors() -> None:
    assert FREEZE["security"] == [{"accessToken": ["PERMISSION_WALLETS_MANAGE"]}]
    policy = FREEZE["x-azora-policy"]
    assert (policy["roles"], policy["rateTier"], policy["perUserPerMinute"]) == (["ROLE_ADMIN"], "USER", 600)
    assert "**Callers**: users with PERMISSION_WALLETS_MANAGE (ROLE_ADMIN)" in FREEZE["description"]
    assert list(FREEZE["responses"]) == ["200", "400", "401", "403", "404", "409", "429", "503", "504", "default"]
    assert "`WALLET_NOT_FOUND` (NOT_FOUND): the wallet does not exist" in FREEZE["responses"]["404"]["description"]
    example = COMMITTED["components"]["examples"]["WALLET_NOT_FOUND"]["value"]
    assert example["details"][0]["reason"] == "WALLET_NOT_FOUND"
    assert {"$ref": "#/components/parameters/Idempotency-Key"} in FREEZE["parameters"]


def test_public_operations_need_no_token() -> None:
    assert COMMITTED["paths"]["/v1/auth/login"]["post"]["security"] == [{}, {"accessToken": []}]
    assert COMMITTED["paths"]["/v1/wallet"]["get"]["security"] == [{"accessToken": []}]


def test_a_mask_is_a_parameter_beside_the_bare_resource() -> None:
    update = COMMITTED["paths"]["/v1/auth/profile"]["patch"]
    assert [parameter["name"] for parameter in update["parameters"] if parameter.get("in") == "query"] == ["updateMask"]
    schema = update["requestBody"]["content"]["application/json"]["schema"]
    assert schema["$ref"] == "#/components/schemas/azora.auth.v1.User"


@pytest.mark.parametrize(("path", "twin"), [("introspect", "IntrospectTokenRequest"), ("revoke", "RevokeTokenRequest")])
def test_a_form_has_the_fields_of_its_rpc_for_typed_clients(path: str, twin: str) -> None:
    ((media_type, form),) = COMMITTED["paths"][f"/oauth2/{path}"]["post"]["requestBody"]["content"].items()
    assert media_type == "application/x-www-form-urlencoded"
    assert form["schema"] == {"$ref": f"#/components/schemas/azora.auth.v1.{twin}"}


@pytest.mark.parametrize(
    ("path", "media_types"),
    [("wallet/statement", {"application/json", "text/csv"}), ("credentials/status", {"application/vc+jwt"})],
)
def test_documents_have_the_media_types_that_are_declared(path: str, media_types: set[str]) -> None:
    assert set(COMMITTED["paths"][f"/v1/{path}"]["get"]["responses"]["200"]["content"]) == media_types


def test_what_api_keys_may_call_is_told() -> None:
    change = COMMITTED["paths"]["/v1/auth/password:change"]["post"]
    assert "**API keys**: not accepted" in change["description"]
    assert FREEZE["x-azora-policy"]["apiKeyScope"] == "payment.write"


def test_internal_services_are_not_in_it() -> None:
    assert "InternalService" not in json.dumps(COMMITTED)


def test_comments_have_the_names_of_json() -> None:
    comments = comments_of_all()
    listed = comments["azora.payment.v1.ListTransactionsRequest.page_token"]
    assert listed.startswith("Page token from the `nextPageToken` of a previous ListTransactions response;")
    assert "buf:lint" not in "".join(comments.values())


def test_references_lead_somewhere() -> None:
    for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(COMMITTED))):
        part: Any = COMMITTED
        for key in reference.split("/"):
            part = part[key]


def test_a_new_method_needs_nothing_but_its_proto() -> None:
    extended = FileDescriptorSet.FromString(DESCRIPTORS.read_bytes())
    file = next(file for file in extended.file if file.name.endswith("wallet_service.proto"))
    method = file.service[0].method.add()
    method.CopyFrom(file.service[0].method[2])
    method.name = "ThawWallet"
    for extension in method.options.Extensions:
        if extension.name == "http":
            method.options.Extensions[extension].post = "/v1/wallets/{wallet_id}:thaw"
    assert "/v1/wallets/{walletId}:thaw" in openapi(contract_of(extended), comments_of_all())["paths"]


@pytest.mark.parametrize(
    ("name", "comment", "problem"),
    [
        (
            "WalletService.GetWallet",
            "Gets.\nErrors: NOT_FOUND WALET_NOT_FOUND.",
            "unknown error reason WALET_NOT_FOUND",
        ),
        ("ErrorReason.ERROR_REASON_WALLET_NOT_FOUND", "No wallet.", "is not 'CODE: what is wrong"),
        ("ErrorReason.ERROR_REASON_WALLET_NOT_FOUND", "NOT_FOUND: no wallet.", "Action: what to do"),
    ],
)
def test_errors_that_are_not_declared_do_not_compile(name: str, comment: str, problem: str) -> None:
    with pytest.raises(CommentError, match=problem):
        openapi(load_contract(), comments_of_all() | {f"azora.payment.v1.{name}": comment})
