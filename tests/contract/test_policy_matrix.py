"""The printed table of policies is what Envoy and the interceptors enforce: every RPC, every kind of caller, every way.

Admitted is a call that fails for what it asks, if it fails: its message is empty.
"""

from __future__ import annotations

import ast
import io
import json
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import pytest
import pytest_asyncio
from azora import client
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.cli import policy as policy_command
from services.cli.output import Output
from services.compiler.contract import ENVOY, GATEWAY
from services.compiler.envoy import compile_bootstrap
from services.compiler.envoy.authentication import GET_JWKS
from services.compiler.policy_table import policy_table
from services.shared.ids import new_id
from services.shared.scopes import declared_scopes
from tests.support.edge import CONTRACT
from tests.support.http import plain_http
from tests.support.serving import Signer
from tests.support.tcp_mesh import running_tcp_mesh
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from prometheus_client import CollectorRegistry

    from tests.support.tcp_mesh import TcpMesh

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADMITTED = {"OK", "INVALID_ARGUMENT"}
ANYONE, SIGNED_IN = "anyone", "signed-in users"
IDENTITIES = (*CONTRACT.owners, GATEWAY, ENVOY)


class Row(NamedTuple):
    """An RPC of the table."""

    path: str
    binding: str
    callers: frozenset[str]
    rate: str
    priority: str
    timeout: str
    retries: str
    scope: str
    """The scope that an API key's access token needs; "-" where it is refused."""
    key: str

    @property
    def tier(self) -> str:
        """Its rate-limit tier."""
        return self.rate.partition(",")[0]

    @property
    def internal(self) -> bool:
        """Whether it admits services only."""
        return all(caller.startswith("service ") for caller in self.callers)

    def admits_user(self, permissions: frozenset[str]) -> bool:
        """Whether it admits a signed-in user who has these permissions."""
        return not self.callers.isdisjoint({ANYONE, SIGNED_IN, *permissions})


def printed() -> list[list[str]]:
    """Return the cells of the lines that `azora policy` prints."""
    with redirect_stdout(io.StringIO()) as out:
        policy_command.show_policy(Output())
    return [re.split(r" {2,}", line) for line in out.getvalue().splitlines()]


def rows() -> list[Row]:
    """Read the printed table as people do."""
    header, *lines = PRINTED[: PRINTED.index([""])]
    assert header == [column.title for column in policy_command.COLUMNS]
    return [
        Row(f"/azora.{rpc}", BINDINGS[f"/azora.{rpc}"], frozenset(callers.split(", ")), *others)
        for rpc, callers, *others in lines
    ]


def bindings() -> dict[str, str]:
    """Read the routes of RPCs from the page of policies, which `azora policy` leaves out."""
    found, service = {}, ""
    for line in TABLE.splitlines():
        if line.startswith("## "):
            service = line.removeprefix("## ")
        elif service.startswith("azora.") and (cells := cells_of(line)) and cells[0] not in ("RPC", "---"):
            found[f"/{service}/{cells[0]}"] = cells[1].strip("`")
    return found


def roles() -> dict[str, frozenset[str]]:
    """Read the permissions of each role."""
    lines = TABLE.partition("## Roles")[2].splitlines()
    cells = [found for line in lines if (found := cells_of(line)) and found[0].startswith("ROLE_")]
    return {role: frozenset(permissions.split(", ")) for role, permissions in cells}


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []


SERVICERS = [path.read_text() for path in Path("services").glob("*/**/*servicer.py")]
TABLE = policy_table(CONTRACT)
BINDINGS = bindings()
PRINTED = printed()
ROWS = rows()
ROLES = roles()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh() -> AsyncIterator[TcpMesh]:
    async with running_tcp_mesh() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def running(mesh: TcpMesh) -> TcpMesh:
    """Give the mesh when Envoy calls all of it again."""
    await eventually(mesh.awake)
    return mesh


async def test_the_table_has_every_rpc_and_every_kind_of_caller() -> None:
    declared = {path for path, policy in CONTRACT.policies.items() if policy.service_path.startswith("azora.")}
    assert {row.path for row in ROWS} == declared
    callers = frozenset[str]().union(*(row.callers for row in ROWS))
    held = frozenset[str]().union(*ROLES.values())
    assert callers <= {ANYONE, SIGNED_IN, *held, *(f"service {name}" for name in (*CONTRACT.owners, GATEWAY))}


async def test_envoy_has_the_printed_timeouts_retries_and_priorities(running: TcpMesh) -> None:
    listeners = compile_bootstrap(running.profile)["static_resources"]["listeners"]
    for name in ("edge", "mesh"):
        (listener,) = [listener for listener in listeners if listener["name"] == name]
        routes = routes_of(listener)
        for row in ROWS:
            if name == "edge" and row.internal:
                assert row.path not in routes
                continue
            action = routes[row.path]
            assert float(action["max_stream_duration"]["max_stream_duration"].removesuffix("s")) == float(
                row.timeout.removesuffix(" s")
            ), row
            assert ("unavailable" in action["retry_policy"]["retry_on"]) is (row.retries == "yes"), row
            assert (action.get("priority") == "HIGH") is (row.priority in ("HIGH", "CRITICAL")), row


async def test_envoy_and_the_interceptors_have_the_printed_rate_tiers(running: TcpMesh) -> None:
    """A call counts in the bucket of its tier at Envoy, and in the counters of its tier in the service."""
    (edge,) = (
        listener
        for listener in compile_bootstrap(running.profile)["static_resources"]["listeners"]
        if listener["name"] == "edge"
    )
    tiers = tiers_of(edge)
    assert {row.path: row.tier for row in ROWS if not row.internal}.items() <= tiers.items()
    guard = json.dumps(edge)
    for tier in {row.tier for row in ROWS}:
        assert f'{{"key": "tier", "value": "{tier}"}}' in guard
    (keys,) = (row for row in ROWS if row.path == GET_JWKS)
    admin = running.signer.token(role="ROLE_ADMIN")
    async with client.connect(running.edge, retries=False) as channel:
        for row in ROWS:
            owner = row.path.split(".")[1]
            registry = running.registries[owner]
            before = counted(registry)
            await outcome(channel, row, admin)
            grown = {tier for tier, calls in counted(registry).items() if calls > before.get(tier, 0)}
            own = set[str]() if row.internal else {row.tier}
            of_envoy = {keys.tier} if owner == "auth" else set[str]()  # It asks at any time.
            assert own <= grown <= own | of_envoy, row


def tiers_of(tree: Any) -> dict[str, str]:
    """Return the tiers that the metadata of routes name, by the exact path that they match."""
    if isinstance(tree, list):
        return {path: tier for part in tree for path, tier in tiers_of(part).items()}
    if not isinstance(tree, dict):
        return {}
    found = {path: tier for part in tree.values() for path, tier in tiers_of(part).items()}
    path = tree["match"].get("path") if {"match", "metadata"} <= set(tree) else None
    return found if path is None else {**found, path: tree["metadata"]["filter_metadata"]["azora"]["tier"]}


def counted(registry: CollectorRegistry) -> dict[str, float]:
    """Return how many decisions about rates there were, by tier."""
    found: dict[str, float] = {}
    for metric in registry.collect():
        for sample in metric.samples:
            if sample.name == "azora_rate_limit_decisions_total":
                tier = sample.labels["tier"]
                found[tier] = found.get(tier, 0) + sample.value
    return found


async def test_the_rpcs_that_are_printed_to_take_a_key_are_those_whose_handlers_do() -> None:
    keyed = {row.path.rpartition("/")[2] for row in ROWS if row.key == "yes"}
    handlers = [
        handler
        for source in SERVICERS
        for handler in ast.walk(ast.parse(source))
        if isinstance(handler, ast.AsyncFunctionDef)
    ]
    assert {handler.name for handler in handlers if by_request_id(handler)} == keyed


def by_request_id(handler: ast.AsyncFunctionDef) -> bool:
    """Whether a handler makes its call idempotent by the request's id."""
    calls = [node for node in ast.walk(handler) if isinstance(node, ast.Call)]
    return any(
        isinstance(call.func, ast.Name)
        and call.func.id == "idempotent"
        and "key_field" not in {keyword.arg for keyword in call.keywords}
        for call in calls
    )


def routes_of(tree: Any) -> dict[str, Any]:
    """Return the route actions below a part of the bootstrap by the exact path that they match."""
    if isinstance(tree, list):
        return {path: action for part in tree for path, action in routes_of(part).items()}
    if not isinstance(tree, dict):
        return {}
    found = {path: action for part in tree.values() for path, action in routes_of(part).items()}
    path = tree["match"].get("path") if {"match", "route"} <= set(tree) else None
    return found if path is None else {**found, path: tree["route"]}


async def test_through_the_edge_users_are_admitted_by_role(running: TcpMesh) -> None:
    people = {role: running.signer.token(role=role) for role in ROLES}
    async with client.connect(running.edge, retries=False) as channel:
        for row in ROWS:
            outcomes = {role: await outcome(channel, row, token) for role, token in people.items()}
            for role, permissions in ROLES.items():
                expected = {"UNIMPLEMENTED"} if row.internal else admitted(row.admits_user(permissions))
                assert outcomes[role] in expected, (row, role)
            stranger = {"UNIMPLEMENTED"} if row.internal else admitted(ANYONE in row.callers, "UNAUTHENTICATED")
            assert await outcome(channel, row) in stranger, row
            forged = {"UNIMPLEMENTED"} if row.internal else {"UNAUTHENTICATED"}
            assert await outcome(channel, row, Signer().token(role="ROLE_ADMIN")) in forged, row


async def test_api_keys_are_admitted_by_scope_as_far_as_their_owner_is(running: TcpMesh) -> None:
    """Key tokens of every scope and of none: in the service, and, where a key is never admitted, at Envoy."""
    scopes = sorted({row.scope for row in ROWS} - {"-"})
    assert scopes == [f"{name}.{kind}" for name in CONTRACT.owners for kind in ("read", "write")]
    assert list(declared_scopes()) == scopes
    async with client.connect(running.edge, retries=False) as channel:
        for role, permissions in ROLES.items():
            for scope in (*scopes, "", " ".join(scopes)):
                token = running.signer.token(role=role, scope=scope)
                for row in ROWS:
                    granted = row.scope in scope.split() and row.admits_user(permissions)
                    # Beyond its scopes a token counts as none where anyone is admitted, unless keys never are.
                    allowed = granted or (ANYONE in row.callers and row.scope != "-")
                    expected = {"UNIMPLEMENTED"} if row.internal else admitted(allowed)
                    assert await outcome(channel, row, token) in expected, (row, role, scope)


async def test_beyond_its_scopes_an_api_key_is_nobody_where_anyone_is_admitted(running: TcpMesh) -> None:
    """So it reads no drafts of its owner's: the service is told of no user."""
    limits = {"education.read": True, "education.write": False, "payment.read": False}
    async with client.connect(running.edge, retries=False) as channel:
        (row,) = (row for row in ROWS if row.path.endswith("/ListCourses"))
        for scope, known in limits.items():
            running.replicas["education"].received.clear()
            user_id = new_id()
            assert await outcome(channel, row, running.signer.token(user_id, scope=scope)) == "OK"
            (call,) = running.replicas["education"].received
            assert (call.user_id == user_id) is known, scope


async def test_a_token_with_a_scope_that_is_no_text_is_refused(running: TcpMesh) -> None:
    async with client.connect(running.edge, retries=False) as channel:
        for scope in (["payment.read"], 1, {"payment.read": True}, True):
            for row in ROWS:
                if not row.internal and row.binding != "-":
                    token = running.signer.token(role="ROLE_ADMIN", scope=scope)
                    refused = {"UNAUTHENTICATED", "PERMISSION_DENIED"}
                    assert await outcome(channel, row, token) in refused, (row, scope)


async def test_through_the_edge_json_is_no_other_way(running: TcpMesh) -> None:
    async with plain_http(f"http://{running.edge}") as http:
        for row in ROWS:
            if row.internal:
                answer = await http.post(row.path, json={})
                assert answer.status_code == 404, row
            elif row.binding != "-":
                method, _, url = row.binding.partition(" ")
                types = CONTRACT.policies[row.path].content_types or ("application/json",)
                body = {"headers": {"content-type": types[0]}, "content": "{}"} if method != "GET" else {}
                answer = await http.request(method, re.sub(r"{[^}]+}", "1", url), **body)  # type: ignore[arg-type]
                assert (answer.status_code == 401) is (ANYONE not in row.callers), row


async def test_through_the_mesh_services_are_admitted_by_name(running: TcpMesh) -> None:
    student, admin = (running.signer.token(role=role) for role in ("ROLE_STUDENT", "ROLE_ADMIN"))
    for identity in IDENTITIES:
        async with running.channel(running.mesh, identity) as channel:
            for row in ROWS:
                named = not row.callers.isdisjoint({ANYONE, f"service {identity}"})
                assert await outcome(channel, row) in admitted(named), (identity, row)
                # A user's token opens to a service what it opens to that user: nothing that a permission is needed for.
                for token in (student, admin):
                    expected = admitted(named or SIGNED_IN in row.callers)
                    assert await outcome(channel, row, token) in expected, (identity, row)


async def test_directly_a_service_answers_nobody_but_envoy(running: TcpMesh) -> None:
    admin = running.signer.token(role="ROLE_ADMIN")
    for name in CONTRACT.owners:
        own = [row for row in ROWS if row.path.split(".")[1] == name]
        for identity in set(IDENTITIES) - {ENVOY}:
            async with running.channel(running.service(name), identity, server=name) as channel:
                for row in own:
                    claimed = [("x-forwarded-client-cert", f"URI=spiffe://azora.local/ns/default/sa/{identity}")]
                    assert await outcome(channel, row, admin, claimed) == "PERMISSION_DENIED", (identity, row)
        async with client.connect(running.service(name), tls=True, authority=running.pki / "ca.crt") as channel:
            assert (await outcome(channel, own[0], admin)).startswith("UNAVAILABLE"), (
                "without a certificate there is no connection"
            )
        async with client.connect(running.service(name), retries=False) as channel:
            assert (await outcome(channel, own[0], admin)).startswith("UNAVAILABLE"), "no TLS"


async def test_directly_a_services_health_is_told_and_not_watched(running: TcpMesh) -> None:
    """A watch takes one of the places of clients, for ten minutes: enough of them would leave clients none."""
    for identity in IDENTITIES:
        async with running.channel(running.service("payment"), identity, server="payment") as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            request = health_pb2.HealthCheckRequest()
            assert (await stub.Check(request, timeout=10)).status == health_pb2.HealthCheckResponse.SERVING
            assert await watched(stub.Watch(request, timeout=10)) == (
                "OK" if identity == ENVOY else "PERMISSION_DENIED"
            )


async def watched(call: Any) -> str:
    """Read the first message of a stream and return the name of its status."""
    try:
        await anext(aiter(call))
    except aio.AioRpcError as refused:
        return refused.code().name
    finally:
        call.cancel()
    return grpc.StatusCode.OK.name


def admitted(value: bool, refusal: str = "PERMISSION_DENIED") -> set[str]:
    return ADMITTED if value else {refusal}


async def outcome(channel: aio.Channel, row: Row, token: str = "", headers: Sequence[tuple[str, str]] = ()) -> str:
    """Make a call with an empty message and return the name of its status."""
    metadata = [*headers, *([("authorization", f"Bearer {token}")] if token else [])]
    try:
        await channel.unary_unary(row.path)(b"", metadata=tuple(metadata), timeout=10)  # type: ignore[arg-type]
    except aio.AioRpcError as refused:
        # Of those only a test's own fault is UNAVAILABLE: it says what happened.
        return (
            f"UNAVAILABLE {refused.details()}" if refused.code() is grpc.StatusCode.UNAVAILABLE else refused.code().name
        )
    return grpc.StatusCode.OK.name
