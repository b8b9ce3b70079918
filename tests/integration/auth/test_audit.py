"""The audit logs of all services, as administrators read and verify them through Auth."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from azora.audit.v1 import audit_event_pb2
from azora.auth.v1 import audit_service_pb2 as pb
from azora.auth.v1 import audit_service_pb2_grpc, session_service_pb2, user_pb2, user_service_pb2, user_service_pb2_grpc
from azora.auth.v1 import auth_service_pb2 as auth_pb
from azora.client import bearer
from azora.policy.v1 import permission_pb2

from services.auth.admin import ensure_account
from services.auth.audit import operations
from services.shared.audit.model import AuditEvent, Finding, FindingType, StoredEvent, Verified
from services.shared.errors import DeadlinePassed, DependencyUnavailable, DomainError, Overloaded
from services.shared.ids import new_id
from tests.support.api_keys import claims_of, key_client_of
from tests.support.auth import PASSWORD, RunningAuth, running_auth
from tests.support.refusals import refusal
from tests.support.second_factors import Client, client_of
from tests.support.services import SERVICES
from tests.support.serving import channel_to
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from services.auth.ports import AuditSource
    from services.shared.audit.model import EventFilter, EventPosition
    from tests.support.postgres import Clone

ADMIN, EMAIL = "root@example.com", "thandi@example.com"
INTACT = Verified(
    findings=(), finding_count=0, seal_count=1, event_count=2, last_seal_number=7, last_seal_hash=b"h" * 32
)


@dataclass(slots=True)
class FakeLog:
    """The audit log of another service."""

    events: list[StoredEvent] = field(default_factory=list)
    pages: Mapping[str, Verified] = field(default_factory=lambda: {"": INTACT})
    error: DomainError | None = None
    asked: list[tuple[str, tuple[int, bytes]]] = field(default_factory=list)
    """What was asked of VerifyChain."""

    async def list_events(
        self, *, selected: EventFilter, before: EventPosition | None, limit: int
    ) -> Sequence[StoredEvent]:
        """Return its events that are of the action."""
        if self.error is not None:
            raise self.error
        ordered = sorted(self.events, key=_position, reverse=True)
        return [
            stored
            for stored in ordered
            if selected.action in ("", stored.event.action)
            and (before is None or _position(stored) < (before.create_time, before.id))
        ][:limit]

    async def verify_chain(self, *, page_token: str, after: tuple[int, bytes] = (0, b"")) -> Verified:
        """Return what the token stands for."""
        self.asked.append((page_token, after))
        if self.error is not None:
            raise self.error
        return self.pages[page_token]


def _position(stored: StoredEvent) -> tuple[datetime, str]:
    return stored.create_time, stored.event.id


def _stored(create_time: datetime, action: str = "course.publish") -> StoredEvent:
    event = AuditEvent(id=new_id(), action=action, outcome="SUCCEEDED")
    return StoredEvent(event=event, create_time=create_time, origin=None)


@dataclass(frozen=True, slots=True)
class Auditor:
    """An administrator, and an Auth."""

    auth: RunningAuth
    client: Client
    stub: audit_service_pb2_grpc.AuditServiceAsyncStub
    access_token: str

    async def read(self, **fields: Any) -> pb.ListEventsResponse:
        """List a page."""
        return await self.stub.ListEvents(pb.ListEventsRequest(**fields), metadata=bearer(self.access_token))

    async def verify(self, page_token: str = "", **fields: Any) -> pb.VerifyChainResponse:
        """Verify a part."""
        request = pb.VerifyChainRequest(page_token=page_token, **fields)
        return await self.stub.VerifyChain(request, metadata=bearer(self.access_token))

    async def actions(self, target: str) -> list[str]:
        """Return what was done to a target, the oldest first; failures with their reason."""
        page = await self.read(target=target, page_size=100)
        return [f"{event.action} {event.reason}".strip() for event in reversed(page.events)]


@asynccontextmanager
async def _auditor(clone: Clone, audited: Mapping[str, AuditSource] | None = None) -> AsyncIterator[Auditor]:
    async with (
        running_auth(clone.owner_url, clone.app_url, audited=audited) as auth,
        client_of(auth) as client,
        channel_to(auth.target) as channel,
    ):
        await ensure_account(auth.settings, email=ADMIN, password=PASSWORD, name="Root", role="ROLE_ADMIN")
        token = (await auth.login(ADMIN)).access_token
        yield Auditor(auth, client, audit_service_pb2_grpc.AuditServiceStub(channel), token)


@pytest.fixture
async def auditor(auth_database: Clone) -> AsyncIterator[Auditor]:
    async with _auditor(auth_database) as auditor:
        yield auditor


async def test_sign_ins_and_their_failures_are_recorded_with_where_they_came_from(auditor: Auditor) -> None:
    user = (await auditor.auth.register(EMAIL)).user
    await refusal(auditor.client.login(EMAIL, "a wrong password", address="203.0.113.7"))
    await refusal(auditor.client.login("nobody@example.com", "a wrong password", address="203.0.113.8"))
    await auditor.client.login(EMAIL, address="203.0.113.9")
    page = await auditor.read(action="user.sign_in")
    target = f"users/{user.id}"
    seen = [(event.target, event.reason, event.address) for event in page.events]
    assert seen[:3] == [
        (target, "", "203.0.113.9"),
        ("", "CREDENTIALS_INVALID", "203.0.113.8"),
        (target, "CREDENTIALS_INVALID", "203.0.113.7"),
    ]
    assert {event.source_service for event in page.events} == {"auth"}
    assert all(len(event.trace_id) == 32 for event in page.events)
    failed = await auditor.read(action="user.sign_in", outcome=audit_event_pb2.AUDIT_OUTCOME_FAILED)
    assert [*failed.events] == [*page.events][1:3]


async def test_changes_of_an_account_are_recorded(auditor: Auditor) -> None:
    session = await auditor.auth.register(EMAIL)
    token, target = session.access_token, f"users/{session.user.id}"
    update = auth_pb.UpdateProfileRequest(user=user_pb2.User(bio="hello"))
    await auditor.auth.auth.UpdateProfile(update, metadata=bearer(token))
    change = auth_pb.ChangePasswordRequest(current_password="a wrong one", new_password="another good password")
    await refusal(auditor.auth.auth.ChangePassword(change, metadata=bearer(token)))
    change.current_password = PASSWORD
    await auditor.auth.auth.ChangePassword(change, metadata=bearer(token))
    authenticator = await auditor.client.enroll(token, "another good password")
    codes = await auditor.client.confirm(token, authenticator.code())
    challenge = await auditor.client.login(EMAIL, "another good password")
    await refusal(auditor.client.verify(challenge.mfa_challenge.id, authenticator.wrong_code()))
    await auditor.client.verify(challenge.mfa_challenge.id, codes[0])
    assert await auditor.actions(target) == [
        "user.create",
        "user.sign_in",
        "user.update",
        "confirmation.check CONFIRMATION_INVALID",
        "password.change",
        "mfa.enable",
        "user.sign_in MFA_CODE_INVALID",
        "user.sign_in",
    ]
    own = await auditor.read(user_id=session.user.id)
    assert {event.action for event in own.events} == {
        "user.update",
        "confirmation.check",
        "password.change",
        "mfa.enable",
    }
    assert len({event.session_id for event in own.events}) == 1


async def test_a_wrong_code_of_a_confirmation_is_recorded(auditor: Auditor) -> None:
    session = await auditor.auth.register(EMAIL)
    authenticator, _ = await auditor.client.enable(session.access_token)
    await refusal(auditor.client.regenerate(session.access_token, authenticator.wrong_code()))
    recorded = await auditor.actions(f"users/{session.user.id}")
    assert recorded[-1] == "confirmation.check CONFIRMATION_INVALID"


async def test_the_end_of_sessions_is_recorded(auditor: Auditor) -> None:
    session, other = await auditor.auth.register(EMAIL), await auditor.auth.login(EMAIL)
    revoke = session_service_pb2.RevokeOtherSessionsRequest()
    await auditor.auth.sessions.RevokeOtherSessions(revoke, metadata=bearer(other.access_token))
    assert (await auditor.actions(f"users/{session.user.id}"))[-1] == "session.revoke"
    newer = await auditor.auth.refresh(other.refresh_token)
    await auditor.auth.refresh(newer.refresh_token)
    await refusal(auditor.auth.refresh(other.refresh_token))
    page = await auditor.read(action="refresh_token.reuse")
    assert [event.target.partition("/")[0] for event in page.events] == ["sessions"]


async def test_what_administrators_do_to_users_is_recorded(auditor: Auditor) -> None:
    user = (await auditor.auth.register(EMAIL)).user
    async with channel_to(auditor.auth.target) as channel:
        users, metadata = user_service_pb2_grpc.UserServiceStub(channel), bearer(auditor.access_token)
        named = {"user_id": user.id}
        educator = user_service_pb2.SetUserRoleRequest(**named, role=permission_pb2.ROLE_EDUCATOR)
        for _ in range(2):  # What changes nothing is not recorded.
            await users.SetUserRole(educator, metadata=metadata)
        await users.DisableUser(user_service_pb2.DisableUserRequest(**named), metadata=metadata)
        await users.EnableUser(user_service_pb2.EnableUserRequest(**named), metadata=metadata)
        await users.UnlockUser(user_service_pb2.UnlockUserRequest(**named), metadata=metadata)
        deletion = user_service_pb2.DeleteUserRequest(**named, forfeit_balance=True)
        await users.DeleteUser(deletion, metadata=metadata)
    page = await auditor.read(target=f"users/{user.id}", page_size=100)
    administration = [event for event in reversed(page.events) if event.user_id]
    assert [event.action for event in administration] == [
        "user.set_role",
        "user.disable",
        "user.enable",
        "user.unlock",
        "user.delete",
    ]
    assert {event.user_id for event in administration} == {claims_of(auditor.access_token)["sub"]}


async def test_api_keys_are_recorded_by_their_ids(auditor: Auditor) -> None:
    session = await auditor.auth.register(EMAIL)
    async with key_client_of(auditor.auth) as keys:
        created = (await keys.create(session.access_token)).api_key
        await keys.revoke(session.access_token, created.id)
    assert await auditor.actions(f"apiKeys/{created.id}") == ["api_key.create", "api_key.revoke"]


async def test_no_row_holds_a_name_or_an_address(auditor: Auditor) -> None:
    session = await auditor.auth.register(EMAIL, name="Thandi Nkosi")
    await refusal(auditor.client.login(EMAIL, "a wrong password", address="203.0.113.7"))
    rows = [str(row) for row in await auditor.auth.sql("SELECT e::text FROM audit_events e")]
    assert any(session.user.id in row for row in rows)
    assert not [row for row in rows if EMAIL in row or "Thandi" in row or "203.0.113.7" in row]


async def test_pages_of_all_services_are_merged_by_time_and_id(auth_database: Clone) -> None:
    now = datetime.now(UTC).replace(microsecond=5)
    education = FakeLog([_stored(now + timedelta(seconds=seconds)) for seconds in (10, 30, 50, 50)])
    payment = FakeLog([_stored(now + timedelta(seconds=seconds), "wallet.freeze") for seconds in (20, 40, 50)])
    async with _auditor(auth_database, {"education": education, "payment": payment}) as auditor:
        await auditor.auth.register(EMAIL)
        everything = [*(await auditor.read(page_size=100)).events]
        places = [(event.create_time.ToDatetime(), event.id) for event in everything]
        assert places == sorted(places, reverse=True)
        assert {event.source_service for event in everything} == set(SERVICES)
        listed, token, sizes = [], "", iter([1, 2, 3, 2, 2, 100])
        while True:
            page = await auditor.read(page_size=next(sizes), page_token=token)
            listed += [*page.events]
            token = page.next_page_token
            if not token:
                break
        assert listed == everything
        chosen = await auditor.read(action="wallet.freeze")
        assert [event.source_service for event in chosen.events] == ["payment"] * 3
        first = await auditor.read(page_size=1)
        for fields in ({"action": "x"}, {"user_id": new_id()}, {"target": "x"}, {"outcome": 1}):
            token_of_others = auditor.read(page_token=first.next_page_token, **fields)
            assert (await refusal(token_of_others)).reason == "PAGE_TOKEN_INVALID"


@pytest.mark.parametrize("error", [DependencyUnavailable(), DeadlinePassed(), Overloaded(retry_after_seconds=1)])
async def test_a_service_that_does_not_answer_is_named_and_the_others_are_listed(
    auth_database: Clone, error: DomainError
) -> None:
    sources = {"education": FakeLog(error=error), "payment": FakeLog([_stored(datetime.now(UTC))])}
    async with _auditor(auth_database, sources) as auditor:
        page = await auditor.read()
        assert [*page.unreachable] == ["education"]
        assert {event.source_service for event in page.events} == {"auth", "payment"}
        verified = await auditor.verify()
        assert [*verified.unreachable] == ["education"]
        assert {chain.service for chain in verified.chains} == {"auth", "payment"}


class HangingLog(FakeLog):
    """One that does not answer, and does not say so."""

    async def list_events(self, **_: Any) -> Sequence[StoredEvent]:
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_log_that_hangs_costs_the_others_nothing(auth_database: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "LIST_SECONDS", 0.3)
    async with _auditor(auth_database, {"education": HangingLog(), "payment": FakeLog()}) as auditor:
        await auditor.auth.register(EMAIL)
        page = await auditor.read()
        assert [*page.unreachable] == ["education"]
        assert {event.source_service for event in page.events} == {"auth"}


async def test_all_logs_are_verified_page_by_page(auth_database: Clone) -> None:
    finding = Finding(FindingType.EVENT_CHANGED, "auditSeals/3", "its events are not those that it sealed")
    found = Verified(
        findings=[finding],
        finding_count=1,
        seal_count=1,
        event_count=1,
        last_seal_number=9,
        last_seal_hash=b"h" * 32,
        next_page_token="more",
    )
    sources = {"education": FakeLog(), "payment": FakeLog(pages={"": found, "more": INTACT})}
    async with _auditor(auth_database, sources) as auditor:
        first = await auditor.verify()
        chains = {chain.service: chain for chain in first.chains}
        assert set(chains) == set(SERVICES)
        assert [found.resource for found in chains["payment"].findings] == ["auditSeals/3"]
        assert (chains["payment"].last_seal_number, chains["payment"].finding_count) == (9, 1)
        served, token = [], first.next_page_token
        while token:
            page = await auditor.verify(token)
            served += [chain.service for chain in page.chains]
            token = page.next_page_token
        assert served.count("payment") == 1
        assert "education" not in served
        assert (await refusal(auditor.verify("x"))).reason == "PAGE_TOKEN_INVALID"


async def test_a_service_that_misses_a_page_is_asked_for_it_again(auth_database: Clone) -> None:
    found = replace(INTACT, next_page_token="more")
    education = FakeLog(pages={"": found, "more": INTACT})
    async with _auditor(auth_database, {"education": education}) as auditor:
        first = await auditor.verify()
        education.error = DependencyUnavailable()
        second = await auditor.verify(first.next_page_token)
        assert [*second.unreachable] == ["education"]
        education.error = None
        third = await auditor.verify(second.next_page_token)
        assert "education" in {chain.service for chain in third.chains}
        assert [token for token, _ in education.asked] == ["", "more", "more"]


async def test_a_service_that_misses_three_pages_is_given_up(auth_database: Clone) -> None:
    education = FakeLog(error=DependencyUnavailable())
    async with _auditor(auth_database, {"education": education}) as auditor:
        token, pages = "", 0
        while pages == 0 or token:
            token, pages = (await auditor.verify(token)).next_page_token, pages + 1
        assert len(education.asked) == 3


async def test_verification_begins_after_seals_that_are_known(auth_database: Clone) -> None:
    education, payment = FakeLog(pages={"": INTACT}), FakeLog()
    known = f"education:7:{'68' * 32}"
    async with _auditor(auth_database, {"education": education, "payment": payment}) as auditor:
        first = await auditor.verify(after_seals=[known])
        assert (education.asked, payment.asked) == ([("", (7, b"h" * 32))], [("", (0, b""))])
        if first.next_page_token:
            assert (await refusal(auditor.verify(first.next_page_token))).reason == "PAGE_TOKEN_INVALID"
        for wrong in ("education:7", f"education:0:{'68' * 32}", f"library:7:{'68' * 32}"):
            assert (await refusal(auditor.verify(after_seals=[wrong]))).reason == "VALIDATION_FAILED"


async def test_a_row_that_a_superuser_changed_is_found_over_the_api(auditor: Auditor, auth_database: Clone) -> None:
    await auditor.auth.register(EMAIL)

    async def findings() -> list[str]:
        found, token = [], ""
        while True:
            page = await auditor.verify(token)
            found += [finding.resource for chain in page.chains for finding in chain.findings]
            token = page.next_page_token
            if not token:
                return found

    async def sealed() -> bool:
        return not await auditor.auth.sql("SELECT FROM audit_positions WHERE seal IS NULL")

    await eventually(sealed)
    assert not await findings()
    async with auth_database.server.connection(auth_database.name) as connection:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute("UPDATE audit_events SET target = 'users/x' WHERE action = 'user.create'")
    assert await findings()


async def test_only_who_may_read_the_audit_log_does(auditor: Auditor) -> None:
    token = (await auditor.auth.register(EMAIL)).access_token
    for call in (auditor.stub.ListEvents, auditor.stub.VerifyChain):
        request: Any = pb.ListEventsRequest() if call == auditor.stub.ListEvents else pb.VerifyChainRequest()
        assert (await refusal(call(request))).reason == "TOKEN_MISSING"
        assert (await refusal(call(request, metadata=bearer(token)))).reason == "ACCESS_DENIED"
    for fields in ({"page_size": -1}, {"user_id": "x"}, {"target": "x" * 201}, {"outcome": 99}):
        assert (await refusal(auditor.read(**fields))).reason == "VALIDATION_FAILED"
