"""What the containers hold, run as processes: mutual TLS on TCP, production's settings, the committed bootstrap."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest
import pytest_asyncio
from azora.auth.v1 import token_service_pb2, token_service_pb2_grpc
from cryptography import x509
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from services.deployment.certificates import DATA
from services.deployment.compose_secrets import make_secrets
from services.deployment.pki import ensure_pki, identities
from services.local.postgres import running
from services.local.processes import run_step
from tests.support.certificates import serial_number
from tests.support.compose import ROOT, Processes
from tests.support.http import plain_http
from tests.support.services import SERVED, SERVICES
from tests.support.smtp import Mailbox, smtp_server
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.local.postgres import Cluster
    from services.local.supervised import SupervisedProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")
PASSWORD = "a long enough passphrase"
CERTIFICATE_HOURS = "0.02"
"""Looked at every two seconds."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mailbox() -> AsyncIterator[Mailbox]:
    async with smtp_server() as mailbox:
        yield mailbox


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def composed(mailbox: Mailbox) -> AsyncIterator[Processes]:
    with tempfile.TemporaryDirectory(prefix="azt", dir="/tmp") as name:
        folder = Path(name)
        make_secrets(folder / "secrets")
        (folder / "postgres").mkdir()
        processes = Processes(folder, folder / "secrets")
        async with running(folder / "postgres", SERVICES) as cluster:
            certificates = processes.service("certificates", "--hours", CERTIFICATE_HOURS)
            started = [
                processes.valkey(),
                *(serve(processes, cluster, mailbox, name) for name in SERVED),
                processes.envoy(),
            ]
            try:
                migrations = [migrate(processes, cluster, service) for service in SERVICES]
                await asyncio.gather(certificates.start(), *migrations)
                await asyncio.gather(*(each.start() for each in started))
                yield processes
            finally:
                await asyncio.gather(*(each.stop() for each in (*started, certificates)))


async def migrate(processes: Processes, cluster: Cluster, service: str) -> None:
    container = f"migrate-{service}"
    owner = cluster.url(service, f"{service}_owner")
    migration = processes.service(container, AZORA_MIGRATION_DATABASE_URL=owner)
    await run_step(f"Migrating {service}", migration.spec.command)


def serve(processes: Processes, cluster: Cluster, mailbox: Mailbox, service: str) -> SupervisedProcess:
    database = {"AZORA_DATABASE_URL": cluster.url(service, f"{service}_app")} if service in SERVICES else {}
    return processes.service(service, AZORA_DRAIN_SECONDS="0", AZORA_SMTP_URL=mailbox.url, **database)


async def test_the_whole_system_says_that_it_is_healthy(composed: Processes) -> None:
    async with edge(composed) as client:
        answer = await client.get("/health")
    assert answer.status_code == httpx.codes.OK
    assert answer.json()["services"] == dict.fromkeys(SERVICES, "healthy")


async def test_services_learn_of_each_other_through_the_mesh(composed: Processes, mailbox: Mailbox) -> None:
    """Education and Payment fetch Auth's keys over Envoy's internal listener before they believe a token.

    As in production, the person registers by a link that arrives by mail.
    """
    person = {"email": "ada@example.com", "password": PASSWORD, "name": "Ada"}
    async with edge(composed) as client:
        registered = await client.post("/v1/auth/register", json=person)
        assert registered.json() == {}
        link = await mailbox.token(person["email"], "Confirm your registration")
        verified = await client.post("/v1/auth/email:verify", json={"token": link})
        assert verified.json() == {"effect": "EMAIL_LINK_EFFECT_REGISTERED"}
        signed_in = await client.post("/v1/auth/login", json=person)
        token = {"authorization": f"Bearer {signed_in.json()['accessToken']}"}
        for path in ("/v1/auth/profile", "/v1/enrollments", "/v1/wallet"):
            answer = await client.get(path, headers=token)
            assert answer.status_code == httpx.codes.OK, f"{path}: {answer.text}"


@pytest.mark.parametrize("service", SERVED)
async def test_nobody_without_a_certificate_of_the_mesh_reaches_a_service(composed: Processes, service: str) -> None:
    port = composed.port(service, 50051)
    assert await health(aio.insecure_channel(f"localhost:{port}")) == grpc.StatusCode.UNAVAILABLE
    ensure_pki(composed.folder / "stranger")
    stranger = stranger_of(composed.folder / "stranger", composed.identity("envoy") / "ca.crt")
    assert await health(aio.secure_channel(f"localhost:{port}", stranger)) == grpc.StatusCode.UNAVAILABLE


async def test_parts_of_the_mesh_may_ask_for_health_and_for_nothing_else(composed: Processes) -> None:
    target = f"localhost:{composed.port('auth', 50051)}"
    education = identity(composed, "education")
    assert await health(aio.secure_channel(target, education)) == grpc.StatusCode.OK
    assert await keys(aio.secure_channel(target, education)) == grpc.StatusCode.PERMISSION_DENIED
    envoy = identity(composed, "envoy")
    assert await health(aio.secure_channel(target, envoy)) == grpc.StatusCode.OK
    assert await keys(aio.secure_channel(target, envoy)) == grpc.StatusCode.OK


async def test_the_internal_listener_wants_a_certificate(composed: Processes) -> None:
    target = f"localhost:{composed.port('envoy', 9443)}"
    assert await keys(aio.insecure_channel(target)) == grpc.StatusCode.UNAVAILABLE
    name = [("grpc.ssl_target_name_override", "envoy")]
    payment = aio.secure_channel(target, identity(composed, "payment"), options=name)
    assert await keys(payment) == grpc.StatusCode.OK


async def test_certificates_are_renewed_while_everything_runs(composed: Processes) -> None:
    """Those whose files are gone are made anew, as those near their end are; no server is told, and no call fails."""
    before = {name: serial_number(composed.identity(name) / "tls.crt") for name in identities()}
    for name in before:
        (composed.folder / "volumes" / "pki" / f"{name}.crt").unlink()

    async def all_are_served() -> bool:
        published = {name: serial_number(composed.identity(name) / "tls.crt") for name in before}
        served = {name: [await served_serial_number(composed, name, at) for at in listening(name)] for name in before}
        renewed = all(published[name] != before[name] for name in before)
        return renewed and all(set(served[name]) == {published[name]} for name in before)

    async with edge(composed) as client:
        calling = asyncio.create_task(call_steadily(client))
        await eventually(all_are_served)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling


async def test_guessing_passwords_ends_with_a_time_to_wait(composed: Processes) -> None:
    """The real limits: ten attempts a minute from one address, on whatever accounts."""
    async with edge(composed) as client:
        for attempt in range(11):
            guess = {"email": f"{attempt}@example.com", "password": PASSWORD}
            answer = await client.post("/v1/auth/login", json=guess)
            if answer.status_code != httpx.codes.UNAUTHORIZED:
                break
    assert answer.status_code == httpx.codes.TOO_MANY_REQUESTS
    assert 0 < int(answer.headers["retry-after"]) <= 60
    assert answer.headers["ratelimit-remaining"] == "0"
    status = answer.json()
    assert (status["code"], status["details"][0]["reason"]) == (8, "RATE_LIMITED")
    assert status["details"][1]["@type"].endswith("google.rpc.RetryInfo")


async def test_reflection_is_off_in_production(composed: Processes) -> None:
    async with aio.insecure_channel(f"127.0.0.1:{composed.port('envoy', 8080)}") as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[arg-type]
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        assert await call.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_a_health_check_says_what_is_wrong(composed: Processes) -> None:
    """Auth's check: where nobody listens, of a service that there is not, with a bad setting, without its key."""

    async def complains(complaint: str, *arguments: str, **changes: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *composed.check("auth"),
            *arguments,
            env=composed.environment("auth", **changes),
            cwd=ROOT,
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await process.communicate()
        assert process.returncode == 1
        assert said.decode().startswith("not healthy: ")
        assert complaint in said.decode()

    await asyncio.gather(
        complains("UNAVAILABLE", AZORA_LISTEN="127.0.0.1:1"),
        complains("NOT_FOUND", "azora.nothing.v1.Nothing"),
        complains("AZORA_LOG_LEVEL", AZORA_LOG_LEVEL="LOUD"),
        complains("/nowhere", AZORA_TLS_KEY="/nowhere"),
    )


async def call_steadily(client: httpx.AsyncClient) -> None:
    """Make a call to Education and Auth at a time, until cancelled. Raises AssertionError for one that fails."""
    while True:
        for path in ("/v1/courses", "/.well-known/jwks.json", "/health"):
            answer = await client.get(path)
            assert answer.status_code == httpx.codes.OK, f"{path}: {answer.text}"


def listening(name: str) -> tuple[int, ...]:
    """Return the ports on which a member of the mesh shows its certificate."""
    return {"envoy": (9443,), "gateway": (50051, 8081)}.get(name, (50051,))


async def served_serial_number(composed: Processes, name: str, port: int) -> int:
    """Return the serial number of the certificate that a new connection is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    pair = (composed.identity("envoy") / DATA).resolve()  # Both of one version, whenever they are renewed.
    context.load_cert_chain(pair / "tls.crt", pair / "tls.key")
    _, writer = await asyncio.open_connection("127.0.0.1", composed.port(name, port), ssl=context)
    shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return x509.load_der_x509_certificate(shown).serial_number


def edge(composed: Processes) -> httpx.AsyncClient:
    return plain_http(f"http://127.0.0.1:{composed.port('envoy', 8080)}")


def identity(composed: Processes, name: str) -> grpc.ChannelCredentials:
    folder = composed.identity(name)
    return grpc.ssl_channel_credentials(*((folder / file).read_bytes() for file in ("ca.crt", "tls.key", "tls.crt")))


def stranger_of(folder: Path, authority: Path) -> grpc.ChannelCredentials:
    """Return what claims to be Envoy, from an authority of its own."""
    return grpc.ssl_channel_credentials(
        *(path.read_bytes() for path in (authority, folder / "envoy.key", folder / "envoy.crt"))
    )


async def health(channel: aio.Channel) -> grpc.StatusCode:
    """Return how asking for health ends."""
    stub: Any = health_pb2_grpc.HealthStub(channel)
    return await status(channel, stub.Check(health_pb2.HealthCheckRequest(), timeout=5))


async def keys(channel: aio.Channel) -> grpc.StatusCode:
    """Return how asking for Auth's public keys ends."""
    stub: Any = token_service_pb2_grpc.TokenServiceStub(channel)
    return await status(channel, stub.GetJwks(token_service_pb2.GetJwksRequest(), timeout=5))


async def status(channel: aio.Channel, call: Any) -> grpc.StatusCode:
    async with channel:
        code: grpc.StatusCode = await call.code()
    return code
