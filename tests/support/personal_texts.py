"""A person whose name comes into as many places as there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.auth.v1 import auth_service_pb2, events_pb2, user_pb2
from azora.payment.v1 import payment_pb2, wallet_service_pb2
from azora.payment.v1 import payment_service_pb2 as pb
from pydantic import TypeAdapter

from services.auth.container import Container
from services.auth.mail.model import Kind
from services.auth.password_changes.model import SendPasswordReset
from services.shared.ids import new_id
from services.shared.jobs import job_name
from tests.support.payment import azr
from tests.support.waiting import eventually
from tests.support.webhooks import hook

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from tests.support.payment import Person
    from tests.support.platform import Account, Platform

MARK = "zanele"
EMAIL = f"{MARK}@example.com"
NAME = "Zanele Mbeki"


async def freeze(platform: Platform, person: Person, reason: str) -> None:
    """Freeze a person's wallet, as an administrator."""
    request = wallet_service_pb2.FreezeWalletRequest(wallet_id=(await person.wallet()).id, reason=reason)
    payment = platform.economy.payment
    await payment.wallets.FreezeWallet(request, metadata=payment.admin().metadata)


async def spread(platform: Platform, person: Account, friend: Account) -> None:
    """Have a person's name come into as many places as there are."""
    purse, payment = person.learner.purse, platform.economy.payment
    profile = user_pb2.User(bio=f"{NAME} bakes.", location=f"{NAME}'s", avatar_url=f"https://{MARK}.example/a.png")
    profile.preferences.update({"nick": NAME})
    await platform.auth.auth.UpdateProfile(
        auth_service_pb2.UpdateProfileRequest(user=profile), metadata=person.metadata
    )
    login = auth_service_pb2.LoginRequest(
        email=EMAIL, password="correct horse battery staple", device_name=f"{MARK}'s telephone"
    )
    await platform.auth.auth.Login(login)
    await platform.auth.request_reset(EMAIL)
    await platform.auth.sql(
        "INSERT INTO pending_registrations (id, email, email_folded, name, password_hash, expire_time)"
        " VALUES ($1, $2, $2, $3, '', now() + interval '1 hour')",
        new_id(),
        EMAIL,
        NAME,
    )
    created = await payment.payments.CreatePayment(
        pb.CreatePaymentRequest(
            type=payment_pb2.PAYMENT_TYPE_DONATION,
            amount=azr(100),
            description=f"For {NAME}'s school",
            request_id="mine",
        ),
        metadata=purse.metadata,
    )
    await payment.payments.CreateRefund(
        pb.CreateRefundRequest(payment_id=created.payment.id, amount=azr(50), reason=f"{NAME} changed her mind"),
        metadata=purse.metadata,
    )
    await payment.payments.CreateHold(
        pb.CreateHoldRequest(amount=azr(75), description=f"Held for {NAME}"), metadata=purse.metadata
    )
    await purse.transfer(friend.learner.purse, 25, description=f"With love, {NAME}")
    await friend.learner.purse.transfer(purse, 10, key="thanks", description=f"Thank you, {NAME}!")
    # The answers to an administrator name what was refunded and earned, not whose it is.
    await payment.payments.CreateRefund(
        pb.CreateRefundRequest(
            payment_id=created.payment.id, amount=azr(5), reason=f"{NAME} wrote to us", request_id=new_id()
        ),
        metadata=payment.admin().metadata,
    )
    earn = pb.EarnRequest(user_id=person.id, amount=azr(5), reference=new_id(), description=f"{NAME}'s prize")
    await payment.payments.Earn(earn, metadata=(*payment.admin().metadata, ("idempotency-key", new_id())))
    await hook(payment, purse, f"https://{MARK}.example.com/hook", description=f"{NAME}'s shop")
    await freeze(platform, purse, f"{NAME} asked for it")
    unfreeze = wallet_service_pb2.UnfreezeWalletRequest(wallet_id=(await purse.wallet()).id, reason=f"{NAME} is back")
    await payment.wallets.UnfreezeWallet(unfreeze, metadata=payment.admin().metadata)


async def left_behind(platform: Platform, user_id: str) -> None:
    """Leave what names a person by other means than an ID: a mail to the address, given-up jobs, a dead letter."""
    container = Container(platform.auth.settings)

    async def work(connection: AsyncConnection) -> None:
        await container.mail.enqueue(
            connection, kind=Kind.REGISTRATION, user_id=None, address=EMAIL, values={"link": "https://learn.example/"}
        )

    try:
        await container.infrastructure.database.transaction(work)
        reset = SendPasswordReset(container.mail.seal_address(address=EMAIL.upper()))
    finally:
        await container.close()
    given_up = """
        INSERT INTO pgqueuer (priority, created, updated, execute_after, entrypoint, payload, status, headers)
        VALUES (0, now(), now(), now(), $1, $2, 'failed', '{}')
    """
    await platform.auth.sql(given_up, job_name(SendPasswordReset), TypeAdapter(SendPasswordReset).dump_json(reset))
    dead = """
        INSERT INTO outbox (event_id, subscriber, type, payload, dead_time)
        VALUES ($1, 'education', 'azora.auth.v1.UserRenamed', $2, now())
    """
    renamed = events_pb2.UserRenamed(user_id=user_id, name=NAME, version=1)
    await platform.auth.sql(dead, new_id(), renamed.SerializeToString())
    for service in platform.services.values():
        await service.sql(given_up, "given_up", f'{{"user_id": "{user_id}", "name": "{NAME}"}}'.encode())


async def named(platform: Platform) -> None:
    """Wait until Education knows the name."""

    async def known() -> bool:
        return ("education", "people", "name") in await platform.found(MARK)

    await eventually(known)
