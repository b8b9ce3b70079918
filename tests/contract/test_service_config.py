"""The service config that gRPC clients load: the contract's timeouts, and retries of what is safe to retry."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import grpc
from google.protobuf.descriptor_pb2 import MethodOptions
from grpc import aio

from services.compiler.contract import load_contract
from services.compiler.policy_table import policy_table
from services.compiler.service_config import service_config
from tests.support.edge import failure
from tests.support.serving import short_folder

ROOT = Path(__file__).parents[2]
CONFIG = service_config(load_contract())
REGISTER = "/azora.auth.v1.AuthService/Register"
PAY = "/azora.payment.v1.PaymentService/CreatePayment"
READ = "/azora.education.v1.CourseService/GetCourse"


def test_what_is_committed_is_what_compiles() -> None:
    assert json.loads(files("azora").joinpath("service_config.json").read_text()) == CONFIG
    assert (ROOT / "docs/policies.md").read_text() == policy_table(load_contract())


def test_every_method_of_ours_has_its_timeout_and_no_other_is_named() -> None:
    policies = load_contract().policies
    named = {}
    for method in CONFIG["methodConfig"]:
        (name,) = method["name"]
        named[f"/{name['service']}/{name['method']}"] = method
    levels = {
        f"/{service.full_name}/{method.name}": method.GetOptions().idempotency_level
        for service in load_contract().declared
        for method in service.methods
    }
    assert named.keys() == levels.keys()
    for path, method in named.items():
        assert method["timeout"] == f"{policies[path].timeout_seconds + 2:g}s", "the gateway's answer comes first"
        retried = levels[path] == MethodOptions.NO_SIDE_EFFECTS and not policies[path].server_streaming
        assert ("retryPolicy" in method) is retried, "a stream is resumed by its reader"
        assert method.get("retryPolicy", {}).get("retryableStatusCodes", ["UNAVAILABLE"]) == ["UNAVAILABLE"]


async def test_a_client_that_loads_it_retries_what_is_safe_and_nothing_else() -> None:
    attempts: list[str] = []

    class Failing(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
            async def fail(_request: bytes, context: aio.ServicerContext[bytes, bytes]) -> bytes:
                attempts.append(handler_call_details.method)
                await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")

            return grpc.unary_unary_rpc_method_handler(fail)

    async with short_folder() as folder:
        server = aio.server()
        server.add_generic_rpc_handlers((Failing(),))
        server.add_insecure_port(f"unix:{folder}/s")
        await server.start()
        options = [("grpc.service_config", json.dumps(CONFIG)), ("grpc.enable_retries", 1)]
        async with aio.insecure_channel(f"unix:{folder}/s", options=options) as channel:
            for path in (REGISTER, PAY, READ):
                assert (await failure(channel, path, b"", {})).code() is grpc.StatusCode.UNAVAILABLE
        await server.stop(None)
    assert [attempts.count(path) for path in (REGISTER, PAY, READ)] == [1, 1, 3]
