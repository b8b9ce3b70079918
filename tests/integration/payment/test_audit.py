"""What Payment records in its audit log: the administration of money, in the commit of what it tells of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azora.audit.v1 import audit_event_pb2
from azora.payment.v1 import internal_service_pb2, internal_service_pb2_grpc
from azora.payment.v1 import payment_service_pb2 as pb
from azora.payment.v1 import wallet_service_pb2 as wallet_pb

from services.shared.ids import new_id
from tests.support.payment import EDUCATION, RunningPayment, azr, running_payment
from tests.support.refusals import refusal
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from azora.client import Metadata

    from tests.support.postgres import Clone

AUTH: Metadata = (("x-forwarded-client-cert", "URI=spiffe://azora.local/ns/default/sa/auth"),)
BROWSER: Metadata = (("x-forwarded-for", "203.0.113.7"),)


async def _recorded(payment: RunningPayment) -> list[tuple[str, str, str, str]]:
    rows = await payment.sql("SELECT * FROM audit_events ORDER BY id")
    return [(row["action"], row["outcome"], str(row["user_id"]), row["target"]) for row in rows]


def _internal(payment: RunningPayment) -> internal_service_pb2_grpc.InternalServiceAsyncStub:
    return internal_service_pb2_grpc.InternalServiceStub(payment.channel)


async def test_administration_of_wallets_is_recorded_once_for_a_key(payment: RunningPayment) -> None:
    person, admin = await payment.rich(), payment.admin()
    wallet_id = (await person.wallet()).id
    freeze = wallet_pb.FreezeWalletRequest(wallet_id=wallet_id, reason="a complaint", request_id="once")
    for _ in range(2):
        await payment.wallets.FreezeWallet(freeze, metadata=(*admin.metadata, *BROWSER))
    again = wallet_pb.FreezeWalletRequest(wallet_id=wallet_id, reason="a complaint")
    await payment.wallets.FreezeWallet(again, metadata=admin.metadata)
    unfreeze = wallet_pb.UnfreezeWalletRequest(wallet_id=wallet_id, reason="settled")
    await payment.wallets.UnfreezeWallet(unfreeze, metadata=admin.metadata)
    close = wallet_pb.CloseWalletRequest(wallet_id=wallet_id, reason="asked for")
    assert (await refusal(payment.wallets.CloseWallet(close, metadata=admin.metadata))).reason == "WALLET_NOT_EMPTY"
    await person.pay(100_000)
    await payment.wallets.CloseWallet(close, metadata=admin.metadata)

    expected = [(action, "SUCCEEDED", admin.id, f"wallets/{wallet_id}") for action in ("freeze", "unfreeze", "close")]
    assert await _recorded(payment) == [(f"wallet.{action}", *rest) for action, *rest in expected]
    origins = await payment.sql("SELECT address, user_agent FROM audit_origins ORDER BY event_id")
    assert origins[0]["address"] == "203.0.113.7"
    assert "grpc" in origins[0]["user_agent"]


async def test_what_administrators_grant_and_refund_is_recorded_and_nothing_of_payers(payment: RunningPayment) -> None:
    person, admin = await payment.rich(), payment.admin()
    own = await person.pay(100)
    await person.refund(own.id)
    paid = await person.pay(200)
    await admin.refund(paid.id)
    grant = pb.EarnRequest(user_id=person.id, amount=azr(5), reference="welcome")
    for _ in range(2):
        await payment.payments.Earn(grant, metadata=admin.metadata)
    refused = pb.EarnRequest(user_id=person.id, amount=azr(6), reference="welcome")
    assert (await refusal(payment.payments.Earn(refused, metadata=admin.metadata))).reason == "REFERENCE_USED"
    assert await _recorded(payment) == [
        ("refund.create", "SUCCEEDED", admin.id, f"payments/{paid.id}"),
        ("earning.grant", "SUCCEEDED", admin.id, f"users/{person.id}"),
    ]


async def test_auth_lists_and_verifies_the_log_and_nobody_else(payment: RunningPayment) -> None:
    person, admin = await payment.rich(), payment.admin()
    for number in range(3):
        grant = pb.EarnRequest(user_id=person.id, amount=azr(5), reference=str(number))
        await payment.payments.Earn(grant, metadata=admin.metadata)
    internal = _internal(payment)

    async def listed(**fields: Any) -> list[audit_event_pb2.AuditEvent]:
        request = internal_service_pb2.ListAuditEventsRequest(**{"limit": 101} | fields)
        return [*(await internal.ListAuditEvents(request, metadata=AUTH)).events]

    events = await listed()
    assert [event.action for event in events] == ["earning.grant"] * 3
    assert {(event.source_service, event.user_id, event.count) for event in events} == {("payment", admin.id, 1)}
    assert [event.id for event in events] == sorted((event.id for event in events), reverse=True)
    assert await listed(limit=1) == events[:1]
    assert await listed(before_time=events[0].create_time, before_id=events[0].id) == events[1:]
    assert await listed(user_id=admin.id) == events
    assert not await listed(user_id=new_id())
    assert not await listed(action="refund.create")
    assert not await listed(outcome=audit_event_pb2.AUDIT_OUTCOME_DENIED)
    assert await listed(target=f"users/{person.id}", start_time=events[1].create_time) == events[:2]
    assert await listed(end_time=events[1].create_time) == events[2:]

    async def sealed() -> bool:
        verify = internal_service_pb2.VerifyAuditChainRequest()
        response = await internal.VerifyAuditChain(verify, metadata=AUTH)
        assert not response.chain.findings
        return response.chain.event_count == 3

    await eventually(sealed, within_seconds=3)
    verify = internal_service_pb2.VerifyAuditChainRequest()
    for metadata in (EDUCATION, admin.metadata, ()):
        request = internal_service_pb2.ListAuditEventsRequest(limit=1)
        assert (await refusal(internal.ListAuditEvents(request, metadata=metadata))).code == "PERMISSION_DENIED"
        assert (await refusal(internal.VerifyAuditChain(verify, metadata=metadata))).code == "PERMISSION_DENIED"


async def test_denied_calls_of_users_are_counted_and_those_of_the_anonymous_are_not(payment_database: Clone) -> None:
    async with running_payment(payment_database.app_url, payment_database.owner_url) as payment:
        person = payment.person()
        request = pb.EarnRequest(user_id=person.id, amount=azr(5), reference="welcome")
        for _ in range(3):
            assert (await refusal(payment.payments.Earn(request, metadata=person.metadata))).reason == "ACCESS_DENIED"
        assert (await refusal(payment.payments.Earn(request))).reason == "TOKEN_MISSING"
        assert not await _recorded(payment), "they are counted in memory until the minute is over, or the process ends"
    assert await _recorded(payment) == [
        ("access.call", "DENIED", person.id, "azora.payment.v1.PaymentService/Earn"),
    ]
    [row] = await payment.sql("SELECT count FROM audit_events")
    assert row["count"] == 3
