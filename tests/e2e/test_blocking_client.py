"""Clients that block work, too: pytest-grpc's fixtures, with the running system as their server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from azora.auth.v1 import auth_service_pb2, auth_service_pb2_grpc

if TYPE_CHECKING:
    from tests.support.system import LocalSystem


@pytest.fixture(scope="module")
def grpc_addr(system: LocalSystem) -> str:
    return system.target


@pytest.fixture(scope="module")
def grpc_server(system: LocalSystem) -> LocalSystem:
    return system


@pytest.fixture(scope="module")
def grpc_stub_cls() -> type[auth_service_pb2_grpc.AuthServiceStub]:
    return auth_service_pb2_grpc.AuthServiceStub


def test_a_blocking_stub_signs_in(grpc_stub: Any) -> None:
    request = auth_service_pb2.LoginRequest(email="student@azora.world", password="Student@2024!")
    assert grpc_stub.Login(request, timeout=10).user.name == "Sam Student"


def test_a_blocking_stub_is_refused_like_any_other(grpc_stub: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        grpc_stub.GetProfile(auth_service_pb2.GetProfileRequest(), timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
