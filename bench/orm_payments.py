"""Payments on FastAPI and SQLAlchemy's asyncio ORM, which write the very tables that Payment writes, triggers included.

As its documentation recommends: rows by the ORM, locked by `with_for_update`, one transaction a request. What the
tables' triggers want in one statement is one: the balances, the transaction and its entries.
"""

from __future__ import annotations

import hashlib
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

from fastapi import FastAPI, Header, HTTPException, Response, status
from sqlalchemy import BigInteger, LargeBinary, Uuid, bindparam, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import DateTime

from bench.orm_models import Base as PeerBase
from bench.orm_models import IdempotencyRecord, id_column
from bench.orm_peer import MoneyOut, Out, SessionDep, UserIdDep, lifespan
from services.payment.ledger import chain
from services.payment.ledger.model import (
    STRIPES,
    AccountKey,
    AccountKind,
    Leg,
    SourceKind,
    Transaction,
    TransactionType,
)
from services.shared.ids import new_id

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

METHOD = "azora.payment.v1.CreatePaymentRequest"
REFUND_WINDOW = timedelta(days=14)


class Base(DeclarativeBase):
    """Payment's own tables: others than those of the same names that the rows were copied into."""

    type_annotation_map = PeerBase.type_annotation_map


class Wallet(Base):
    """Somebody's money."""

    __tablename__ = "wallets"

    id: Mapped[str] = id_column()
    user_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))


class Account(Base):
    """What a wallet, or the platform, has of one currency."""

    __tablename__ = "accounts"

    id: Mapped[str] = id_column()
    state: Mapped[str]
    posted: Mapped[int]
    held: Mapped[int]
    sequence: Mapped[int]
    head: Mapped[bytes]
    post_time: Mapped[datetime | None]


class Payment(Base):
    """A payment."""

    __tablename__ = "payments"

    id: Mapped[str] = id_column()
    wallet_id: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    creator: Mapped[str]
    type: Mapped[str]
    amount: Mapped[int]
    currency: Mapped[str]
    refunded: Mapped[int]
    refunding: Mapped[int]
    description: Mapped[str]
    refundable_until: Mapped[datetime]
    create_time: Mapped[datetime]


POST = text("""
WITH balances AS (
    UPDATE accounts SET posted = accounts.posted + moved.amount, sequence = accounts.sequence + 1, head = moved.head,
        post_time = :now, debit = debit + greatest(-moved.amount, 0), credit = credit + greatest(moved.amount, 0)
    FROM (VALUES (CAST(:payer AS uuid), -:minor, :payer_head), (CAST(:fund AS uuid), :minor, :fund_head))
        AS moved (id, amount, head)
    WHERE accounts.id = moved.id
), posted AS (
    INSERT INTO transactions (id, type, source_kind, source_id, legs, create_time)
    VALUES (:transaction, 'PAYMENT', 'PAYMENT', :payment, 2, :now)
)
INSERT INTO entries (account_id, sequence, transaction_id, currency, amount, balance_after, create_time, hash)
VALUES (:payer, :payer_sequence, :transaction, 'AZR', -:minor, :payer_balance, :now, :payer_head),
    (:fund, :fund_sequence, :transaction, 'AZR', :minor, :fund_balance, :now, :fund_head)
""").bindparams(
    *(bindparam(name, type_=Uuid(as_uuid=False)) for name in ("payer", "fund", "transaction", "payment")),
    *(bindparam(name, type_=BigInteger()) for name in ("minor", "payer_sequence", "fund_sequence")),
    *(bindparam(name, type_=BigInteger()) for name in ("payer_balance", "fund_balance")),
    *(bindparam(name, type_=LargeBinary()) for name in ("payer_head", "fund_head")),
    bindparam("now", type_=DateTime(timezone=True)),
)


class MoneyIn(Out):
    """An amount."""

    minor_units: int
    currency: str


class PaymentIn(Out):
    """What is to be paid."""

    type: str
    amount: MoneyIn


class PaymentOut(Out):
    """A payment."""

    id: str
    state: str
    type: str
    amount: MoneyOut
    refunded_amount: MoneyOut
    pending_refund_amount: MoneyOut
    description: str
    course_id: str
    user_id: str
    refundable_until: datetime
    create_time: datetime


class CreatePaymentOut(Out):
    """The answer."""

    payment: PaymentOut


app = FastAPI(lifespan=lifespan)


@app.get("/ready")
async def ready() -> dict[str, bool]:
    """Answer."""
    return {"ready": True}


@app.post("/payments")
async def create_payment(
    order: PaymentIn,
    session: SessionDep,
    user_id: UserIdDep,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> Response:
    """Pay from one's own wallet, once for a key."""
    key = idempotency_key or new_id()
    async with session.begin():
        record = await session.get(IdempotencyRecord, (f"user:{user_id}", METHOD, key))
        if record is not None:
            return Response(record.response, media_type="application/json")
        answer = await _pay(session, user_id, order)
        fingerprint = hashlib.sha256(order.model_dump_json().encode()).digest()
        session.add(
            IdempotencyRecord(
                principal_id=f"user:{user_id}", method=METHOD, key=key, fingerprint=fingerprint, response=answer
            )
        )
    return Response(answer, media_type="application/json")


async def _pay(session: AsyncSession, user_id: str, order: PaymentIn) -> bytes:
    wallet = await session.scalar(select(Wallet).where(Wallet.user_id == user_id))
    if wallet is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "No wallet")
    minor, currency = order.amount.minor_units, order.amount.currency
    purse = AccountKey.wallet(wallet.id, currency)
    fund = AccountKey.system(AccountKind.REVENUE, random.randrange(STRIPES), currency)  # noqa: S311 - any will do
    locked = select(Account).where(Account.id.in_((purse.id, fund.id))).order_by(Account.id)
    accounts = {account.id: account for account in await session.scalars(locked.with_for_update(key_share=True))}
    payer, credited = accounts[purse.id], accounts[fund.id]
    if payer.state != "ACTIVE" or payer.posted - payer.held < minor:
        raise HTTPException(status.HTTP_400_BAD_REQUEST, "Insufficient funds")
    now = max(time for time in (datetime.now(UTC), payer.post_time, credited.post_time) if time)
    paid = Payment(
        id=new_id(),
        wallet_id=wallet.id,
        creator="",
        type=order.type.removeprefix("PAYMENT_TYPE_"),
        amount=minor,
        currency=currency,
        refunded=0,
        refunding=0,
        description="",
        refundable_until=now + REFUND_WINDOW,
        create_time=now,
    )
    await _post(session, (payer, purse), (credited, fund), paid)
    session.add(paid)
    amount, nothing = MoneyOut(minor_units=minor, currency=currency), MoneyOut(minor_units=0, currency=currency)
    shown = PaymentOut(
        id=paid.id,
        state="PAYMENT_STATE_COMPLETED",
        type=order.type,
        amount=amount,
        refunded_amount=nothing,
        pending_refund_amount=nothing,
        description="",
        course_id="",
        user_id=user_id,
        refundable_until=paid.refundable_until,
        create_time=now,
    )
    return CreatePaymentOut(payment=shown).model_dump_json(by_alias=True).encode()


async def _post(
    session: AsyncSession, payer: tuple[Account, AccountKey], fund: tuple[Account, AccountKey], paid: Payment
) -> None:
    posted = Transaction(new_id(), TransactionType.PAYMENT, SourceKind.PAYMENT, paid.id)
    legs = (Leg(payer[1], -paid.amount), Leg(fund[1], paid.amount))
    digest = chain.transaction_digest(posted, legs, memo=None, create_time=paid.create_time)
    values = {"now": paid.create_time, "transaction": posted.id, "payment": paid.id, "minor": paid.amount}
    for name, (account, key), leg in zip(("payer", "fund"), (payer, fund), legs, strict=True):
        balance = account.posted + leg.amount_minor
        values |= {
            name: key.id,
            f"{name}_sequence": account.sequence + 1,
            f"{name}_balance": balance,
            f"{name}_head": chain.entry_hash(
                account.head,
                digest,
                account_id=key.id,
                sequence=account.sequence + 1,
                amount_minor=leg.amount_minor,
                balance_after_minor=balance,
            ),
        }
    await session.execute(POST, values)
