"""The SQL of mails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Table,
    Text,
    any_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from services.auth.accounts.store import users
from services.auth.mail.model import LIMIT_WINDOW, Kind, Mail, MailState
from services.shared.db import Id, Time
from services.shared.keyset import BEFORE_ANY_ID, BEFORE_ANY_TIME, Keyset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.mail.model import NewMail
    from services.shared.keyset import Pages

mails = Table(
    "mails",
    MetaData(),
    Column("id", Id, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("user_id", Id),
    Column("address_digest", LargeBinary, nullable=False),
    Column("payload_sealed", LargeBinary),
    Column("state", Text, nullable=False),
    Column("create_time", Time, nullable=False),
    Column("expire_time", Time, nullable=False),
)

MAIL = (
    mails.c.id,
    mails.c.kind,
    mails.c.state,
    mails.c.payload_sealed,
    mails.c.create_time,
    (mails.c.expire_time <= func.now()).label("expired"),
)
LOCK_LIMIT = select(func.pg_advisory_xact_lock(bindparam("lock_key", type_=BigInteger)))
COUNT_RECENT = select(func.count()).where(
    mails.c.address_digest == bindparam("to_digest"),
    mails.c.kind == bindparam("of_kind"),
    mails.c.create_time > func.clock_timestamp() - bindparam("window", LIMIT_WINDOW, Interval),
)
INSERT = insert(mails).values(
    state=MailState.QUEUED,
    create_time=func.clock_timestamp(),
    expire_time=func.clock_timestamp() + bindparam("lifetime", type_=Interval),
)
FIND_QUEUED = select(*MAIL).where(mails.c.id == bindparam("mail_id"), mails.c.state == MailState.QUEUED)
LIST_KEPT = (
    select(*MAIL)
    .where(mails.c.payload_sealed.is_not(None), mails.c.id < bindparam("before_id", type_=Id))
    .order_by(mails.c.id.desc())
    .limit(bindparam("count", type_=Integer))
)
UPDATE_STATE = (
    update(mails)
    .values(state=bindparam("new_state"))
    .where(mails.c.id == bindparam("mail_id"), mails.c.state == MailState.QUEUED)
)
ERASE = UPDATE_STATE.values(payload_sealed=None)
NEWEST = (
    select(mails.c.id)
    .where(mails.c.payload_sealed.is_not(None))
    .order_by(mails.c.id.desc())
    .limit(bindparam("count", type_=Integer))
)
ERASE_OLD = (
    update(mails)
    .values(payload_sealed=None)
    .where(mails.c.payload_sealed.is_not(None), mails.c.state != MailState.QUEUED, mails.c.id.not_in(NEWEST))
)


# Of the user, or to the address: mails that were sent before there was an account name no user.
_to_address = mails.c.address_digest == any_(bindparam("digests", type_=ARRAY(LargeBinary)))
_of_person = or_(mails.c.user_id == bindparam("of_user"), _to_address)
COUNT_QUEUED_OF = select(func.count()).where(_of_person, mails.c.state == MailState.QUEUED)
EXPORTED = Keyset.by(
    select(mails.c.kind, mails.c.state, mails.c.create_time).where(_of_person),
    {mails.c.create_time: BEFORE_ANY_TIME, mails.c.id: BEFORE_ANY_ID},
)
DELETE_OF = delete(mails).where(_of_person)
FIND_ADDRESS = select(users.c.email).where(users.c.id == bindparam("user_id"))


class MailStore:
    """Reads and writes mails."""

    async def find_address(self, connection: AsyncConnection, user_id: str) -> str | None:
        """Return a user's address."""
        address: str | None = (await connection.execute(FIND_ADDRESS, {"user_id": user_id})).scalar_one_or_none()
        return address

    async def count_queued_mails_of(
        self, connection: AsyncConnection, user_id: str, *, digests: Sequence[bytes]
    ) -> int:
        """Return how many mails to a user are not delivered yet."""
        values = {"of_user": user_id, "digests": list(digests)}
        return int((await connection.execute(COUNT_QUEUED_OF, values)).scalar_one())

    async def list_mails_of(
        self,
        connection: AsyncConnection,  # noqa: ARG002 - a store's
        user_id: str,
        *,
        digests: Sequence[bytes],
    ) -> Pages:
        """Return kind, state and time of the mails to a user, as JSON values."""
        return EXPORTED.of(of_user=user_id, digests=list(digests))

    async def delete_mails_of(self, connection: AsyncConnection, user_id: str, *, digests: Sequence[bytes]) -> int:
        """Delete the mails to a user; return how many they were."""
        values = {"of_user": user_id, "digests": list(digests)}
        return (await connection.execute(DELETE_OF, values)).rowcount

    async def lock_limit(self, connection: AsyncConnection, key: int) -> None:
        """Wait until no other transaction counts the mails of this key."""
        await connection.execute(LOCK_LIMIT, {"lock_key": key})

    async def count_recent_mails(self, connection: AsyncConnection, *, address_digest: bytes, kind: Kind) -> int:
        """Return how many mails of the kind the address was written in the window of the limit."""
        values = {"to_digest": address_digest, "of_kind": kind}
        return int((await connection.execute(COUNT_RECENT, values)).scalar_one())

    async def insert_mail(self, connection: AsyncConnection, mail: NewMail) -> None:
        """Insert a queued mail."""
        values = {
            "id": mail.id,
            "kind": mail.kind,
            "user_id": mail.user_id,
            "address_digest": mail.address_digest,
            "payload_sealed": mail.payload_sealed,
        }
        await connection.execute(INSERT, {**values, "lifetime": mail.lifetime})

    async def find_queued_mail(self, connection: AsyncConnection, mail_id: str) -> Mail | None:
        """Return a mail that was not delivered or given up."""
        row = (await connection.execute(FIND_QUEUED, {"mail_id": mail_id})).one_or_none()
        return _mail(row) if row else None

    async def list_kept_mails(self, connection: AsyncConnection, *, before_id: str, count: int) -> Sequence[Mail]:
        """Return mails whose payload was not erased, newest first."""
        return [_mail(row) for row in await connection.execute(LIST_KEPT, {"before_id": before_id, "count": count})]

    async def update_state(
        self, connection: AsyncConnection, mail_id: str, state: MailState, *, keep_payload: bool
    ) -> None:
        """End a queued mail, and erase its payload unless it is kept."""
        statement = UPDATE_STATE if keep_payload else ERASE
        await connection.execute(statement, {"mail_id": mail_id, "new_state": state})

    async def delete_old_payloads(self, connection: AsyncConnection, *, kept: int) -> None:
        """Erase the payloads of all delivered mails but the newest."""
        await connection.execute(ERASE_OLD, {"count": kept})


def _mail(row: Row[*tuple[Any, ...]]) -> Mail:
    mail_id, kind, state, payload_sealed, create_time, expired = row
    return Mail(mail_id, Kind(kind), MailState(state), payload_sealed, create_time, expired)
