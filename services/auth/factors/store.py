"""The SQL of second factors and challenges. Conditional statements decide who of several callers uses a code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert

from services.auth.factors.model import (
    CHALLENGE_LIFETIME,
    MAX_CHALLENGE_TRIES,
    MAX_ENROLLMENT_AGE,
    Challenge,
    FactorStatus,
    Totp,
)
from services.shared.db import Id, Time
from services.shared.personal_data import list_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

TABLES = MetaData()

totp_secrets = Table(
    "totp_secrets",
    TABLES,
    Column("user_id", Id, primary_key=True),
    Column("secret_sealed", LargeBinary, nullable=False),
    Column("last_step", BigInteger, nullable=False),
    Column("create_time", Time, nullable=False),
    Column("confirm_time", Time),
)
recovery_codes = Table(
    "recovery_codes",
    TABLES,
    Column("user_id", Id, primary_key=True),
    Column("digest", LargeBinary, primary_key=True),
)
mfa_challenges = Table(
    "mfa_challenges",
    TABLES,
    Column("digest", LargeBinary, primary_key=True),
    Column("user_id", Id, nullable=False),
    Column("device_id", Id),
    Column("device_name", Text, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("tries", SmallInteger, nullable=False),
    Column("expire_time", Time, nullable=False),
)

_of_user = totp_secrets.c.user_id == bindparam("of_user")
_confirmed = totp_secrets.c.confirm_time.is_not(None)
_fresh = totp_secrets.c.create_time > func.now() - bindparam("max_age", MAX_ENROLLMENT_AGE, Interval)
_same_secret = totp_secrets.c.secret_sealed == bindparam("sealed")

FIND_TOTP = select(
    totp_secrets.c.user_id,
    totp_secrets.c.secret_sealed,
    _confirmed.label("confirmed"),
    and_(~_confirmed, ~_fresh).label("expired"),
).where(_of_user)
FIND_STATUS = select(
    select(_confirmed).where(_of_user).scalar_subquery().label("totp_enabled"),
    select(func.count())
    .where(recovery_codes.c.user_id == bindparam("of_user"))
    .scalar_subquery()
    .label("recovery_codes_left"),
)
INSERT_TOTP = (
    insert(totp_secrets)
    .values(last_step=0)
    .on_conflict_do_update(
        index_elements=[totp_secrets.c.user_id],
        set_={"secret_sealed": bindparam("sealed"), "last_step": 0, "create_time": func.now()},
        where=~_confirmed,
    )
    .returning(totp_secrets.c.user_id)
)
CLAIM_STEP = (
    update(totp_secrets)
    .values(last_step=bindparam("step"))
    .where(_of_user, _confirmed, _same_secret, totp_secrets.c.last_step < bindparam("step"))
    .returning(totp_secrets.c.user_id)
)
CONFIRM_TOTP = (
    update(totp_secrets)
    .values(last_step=bindparam("step"), confirm_time=func.now())
    .where(_of_user, ~_confirmed, _same_secret)
    .returning(totp_secrets.c.user_id)
)
DELETE_TOTP = delete(totp_secrets).where(_of_user, _confirmed).returning(totp_secrets.c.user_id)
DELETE_CODES = delete(recovery_codes).where(recovery_codes.c.user_id == bindparam("of_user"))
CLAIM_CODE = (
    delete(recovery_codes)
    .where(
        recovery_codes.c.user_id == bindparam("of_user"),
        recovery_codes.c.digest == func.any(bindparam("digests", type_=ARRAY(LargeBinary))),
    )
    .returning(recovery_codes.c.digest)
)
INSERT_CHALLENGE = (
    insert(mfa_challenges)
    .values(tries=0, expire_time=func.now() + bindparam("lifetime", CHALLENGE_LIFETIME, Interval))
    .returning(mfa_challenges.c.expire_time)
)
_open = and_(
    mfa_challenges.c.digest == bindparam("of_digest"),
    mfa_challenges.c.tries < MAX_CHALLENGE_TRIES,
    mfa_challenges.c.expire_time > func.now(),
)
CHALLENGE = (
    mfa_challenges.c.user_id,
    mfa_challenges.c.device_id,
    mfa_challenges.c.device_name,
    mfa_challenges.c.epoch,
)
FIND_CHALLENGE = select(*CHALLENGE).where(_open)
CLAIM_TRY = (
    update(mfa_challenges).values(tries=mfa_challenges.c.tries + 1).where(_open).returning(mfa_challenges.c.tries)
)
DELETE_CHALLENGE = delete(mfa_challenges).where(mfa_challenges.c.digest == bindparam("of_digest"))
DELETE_EXPIRED = delete(mfa_challenges).where(
    mfa_challenges.c.user_id == bindparam("of_user"), mfa_challenges.c.expire_time <= func.now()
)


EXPORT = select(totp_secrets.c.create_time, totp_secrets.c.confirm_time).where(_of_user)
DELETE_ALL = [
    delete(kept).where(kept.c.user_id == bindparam("of_user"))
    for kept in (totp_secrets, recovery_codes, mfa_challenges)
]


class FactorStore:
    """Reads and writes TOTP secrets and recovery codes."""

    async def export_person(self, connection: AsyncConnection, *, user_id: str) -> Mapping[str, Any]:
        """Return when a person enabled an authenticator, without its secret."""
        return {"authenticators": await list_rows(connection, EXPORT, of_user=user_id)}

    async def erase_person(self, connection: AsyncConnection, *, user_id: str) -> int:
        """Delete a person's factors, and the challenges of their sign-ins."""
        return sum([(await connection.execute(each, {"of_user": user_id})).rowcount for each in DELETE_ALL])

    async def find_totp(self, connection: AsyncConnection, user_id: str) -> Totp | None:
        """Return the user's TOTP secret, confirmed or not."""
        row = (await connection.execute(FIND_TOTP, {"of_user": user_id})).one_or_none()
        return Totp(*row) if row else None

    async def find_status(self, connection: AsyncConnection, user_id: str) -> FactorStatus:
        """Return which factors the user has."""
        row = (await connection.execute(FIND_STATUS, {"of_user": user_id})).one()
        return FactorStatus(bool(row.totp_enabled), row.recovery_codes_left)

    async def insert_totp(self, connection: AsyncConnection, user_id: str, *, secret_sealed: bytes) -> bool:
        """Write a secret in place of one that was not confirmed; False if there is a confirmed one."""
        values = {"user_id": user_id, "secret_sealed": secret_sealed, "sealed": secret_sealed}
        return (await connection.execute(INSERT_TOTP, values)).one_or_none() is not None

    async def claim_step(self, connection: AsyncConnection, totp: Totp, *, step: int) -> bool:
        """Use the code of a time step; False if it or a later one was used. Of callers at once, one gets it."""
        values = {"of_user": totp.user_id, "sealed": totp.secret_sealed, "step": step}
        return (await connection.execute(CLAIM_STEP, values)).one_or_none() is not None

    async def update_confirmed(self, connection: AsyncConnection, totp: Totp, *, step: int) -> bool:
        """Confirm a secret by the code of a time step; False if someone else did, or replaced it."""
        values = {"of_user": totp.user_id, "sealed": totp.secret_sealed, "step": step}
        return (await connection.execute(CONFIRM_TOTP, values)).one_or_none() is not None

    async def delete_factors(self, connection: AsyncConnection, user_id: str) -> bool:
        """Delete a confirmed secret and all recovery codes; False if there is no confirmed one."""
        deleted = (await connection.execute(DELETE_TOTP, {"of_user": user_id})).one_or_none() is not None
        if deleted:
            await connection.execute(DELETE_CODES, {"of_user": user_id})
        return deleted

    async def insert_recovery_codes(
        self, connection: AsyncConnection, user_id: str, *, digests: Sequence[bytes]
    ) -> None:
        """Replace the user's recovery codes."""
        await connection.execute(DELETE_CODES, {"of_user": user_id})
        rows = [{"user_id": user_id, "digest": digest} for digest in digests]
        await connection.execute(insert(recovery_codes), rows)

    async def claim_recovery_code(self, connection: AsyncConnection, user_id: str, *, digests: Sequence[bytes]) -> bool:
        """Use the recovery code that has one of the digests. Of callers at once, one gets it."""
        values = {"of_user": user_id, "digests": list(digests)}
        return (await connection.execute(CLAIM_CODE, values)).one_or_none() is not None


class ChallengeStore:
    """Reads and writes challenges."""

    async def insert_challenge(self, connection: AsyncConnection, digest: bytes, challenge: Challenge) -> datetime:
        """Write a challenge and return when it expires; the user's expired ones are deleted."""
        await connection.execute(DELETE_EXPIRED, {"of_user": challenge.user_id})
        values = {
            "digest": digest,
            "user_id": challenge.user_id,
            "device_id": challenge.device_id,
            "device_name": challenge.device_name,
            "epoch": challenge.epoch,
        }
        expire_time: datetime = (await connection.execute(INSERT_CHALLENGE, values)).scalar_one()
        return expire_time

    async def find_challenge(self, connection: AsyncConnection, digest: bytes) -> Challenge | None:
        """Return a challenge that is open: not expired, and with tries left."""
        row = (await connection.execute(FIND_CHALLENGE, {"of_digest": digest})).one_or_none()
        return Challenge(*row) if row else None

    async def claim_try(self, connection: AsyncConnection, digest: bytes) -> int | None:
        """Use one of the tries of an open challenge; return how many were used, None if there is none left."""
        tries: int | None = (await connection.execute(CLAIM_TRY, {"of_digest": digest})).scalar_one_or_none()
        return tries

    async def delete_challenge(self, connection: AsyncConnection, digest: bytes) -> None:
        """Delete a challenge."""
        await connection.execute(DELETE_CHALLENGE, {"of_digest": digest})
