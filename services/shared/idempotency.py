"""Idempotency keys: the same key has one effect and one answer, written in the transaction of the effect.

A verdict on the request (insufficient funds, say) is an answer too and is kept; a fault of the moment is not.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, cast

from sqlalchemy import Column, DateTime, LargeBinary, MetaData, Table, Text, bindparam, func, select
from sqlalchemy.dialects.postgresql import insert

from services.shared.errors import DomainError, IdempotencyKeyReused, revive
from services.shared.principal import current_request
from services.shared.retention import Retention

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.shared.db import Database

CREATE_TABLE = """
CREATE TABLE idempotency_records (
    principal_id text NOT NULL,
    method text NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    response bytea,
    rejection bytea,
    create_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (principal_id, method, key)
);
CREATE INDEX idempotency_records_create_time_idx ON idempotency_records (create_time);
"""
"""For the first migration of a service that takes idempotency keys."""
COLUMNS = {
    "principal_id": "text",
    "method": "text",
    "key": "text",
    "fingerprint": "bytea",
    "response": "bytea",
    "rejection": "bytea",
}
"""PostgreSQL types of a record's columns, by name. The first three are the primary key."""


class Message(Protocol):
    """A response that can be stored: any protobuf message."""

    def SerializeToString(self, *, deterministic: bool = ...) -> bytes:  # noqa: N802 - protobuf's name
        """Return the message's bytes."""
        ...


Effect = TypeVar("Effect")
Response = TypeVar("Response", bound=Message)


@dataclass(frozen=True, slots=True)
class Idempotent(Generic[Effect, Response]):
    """One keyed call: whose, of which method, under which key, and how its effect becomes an answer and back."""

    principal_id: str
    method: str
    key: str
    fingerprint: bytes
    """Digest of the request without its key."""
    encode: Callable[[Effect], Response]
    decode: Callable[[bytes], Response]


class IdempotencyRecords:
    """The records of one service's database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._table = _table()
        columns = self._table.c
        same = [columns[name] == bindparam(f"the_{name}") for name in ("principal_id", "method", "key")]
        self._claim = insert(self._table).on_conflict_do_nothing().returning(columns.key)
        self._find = select(columns.fingerprint, columns.response, columns.rejection).where(*same).with_for_update()
        self._store_response, self._store_rejection = [
            self._table.update().where(*same).values({name: bindparam(name)}) for name in ("response", "rejection")
        ]

    async def run(
        self,
        call: Idempotent[Effect, Response],
        effect: Callable[[AsyncConnection], Awaitable[Effect]],
        *,
        savepoint: bool = True,
    ) -> Response:
        """Run `effect` once for this key, in one transaction with its record; later calls get the same answer.

        An effect that raises DomainErrors only before it writes needs no `savepoint`, which costs two statements.
        A concurrent twin waits on the record's row and replays. Raises IdempotencyKeyReused for another request under
        the key, and whatever DomainError the effect raised, now or then.
        """
        answer = await self.advance(
            call, lambda connection, _: effect(connection), decided=lambda _: True, savepoint=savepoint
        )
        return cast("Response", answer)

    async def advance(
        self,
        call: Idempotent[Effect, Response],
        effect: Callable[[AsyncConnection, bool], Awaitable[Effect]],
        *,
        decided: Callable[[Effect], bool],
        savepoint: bool = True,
    ) -> Response | Effect:
        """As `run`, for an effect of several transactions: one that is not `decided` is committed and returned itself.

        The key is then claimed and has no answer; the next call under it runs `effect` again, which goes on from what
        it finds, until there is an answer to keep. `effect` is told whether it has run under this key before.
        """

        async def attempt(connection: AsyncConnection) -> Response | Effect | DomainError:
            identity = {"principal_id": call.principal_id, "method": call.method, "key": call.key}
            claimed = await connection.execute(self._claim, {**identity, "fingerprint": call.fingerprint})
            where = {f"the_{name}": value for name, value in identity.items()}
            again = claimed.first() is None
            if again:
                fingerprint, response, rejection = (await connection.execute(self._find, where)).one()
                if fingerprint != call.fingerprint:
                    raise IdempotencyKeyReused
                if response is not None or rejection is not None:
                    return replay(call, response, rejection)
            try:
                async with connection.begin_nested() if savepoint else nullcontext():
                    done = await effect(connection, again)
            except DomainError as refused:
                if not refused.stored:
                    raise
                await connection.execute(self._store_rejection, {**where, "rejection": encode_rejection(refused)})
                return refused
            if not decided(done):
                return done
            answer = call.encode(done)
            encoded = answer.SerializeToString(deterministic=True)
            await connection.execute(self._store_response, {**where, "response": encoded})
            return answer

        outcome = await self._database.transaction(attempt)
        if isinstance(outcome, DomainError):
            raise outcome
        return outcome


def encode_rejection(refused: DomainError) -> bytes:
    """Return a refusal as a record keeps it."""
    return json.dumps(refused.record(), sort_keys=True).encode()


def replay(
    call: Idempotent[Effect, Response], response: bytes | None, rejection: bytes | None
) -> Response | DomainError:
    """Return the answer that a record keeps, and tell the caller that it is a replay."""
    request = current_request()
    if request is not None:
        request.initial_metadata["idempotent-replayed"] = "true"
    return revive(json.loads(rejection)) if rejection is not None else call.decode(response or b"")


def retention(keep: timedelta) -> Retention:
    """Return the retention of the records: a key that is older may have another effect."""
    return Retention("idempotency_records", "create_time", keep)


def _table() -> Table:
    return Table(
        "idempotency_records",
        MetaData(),
        Column("principal_id", Text, primary_key=True),
        Column("method", Text, primary_key=True),
        Column("key", Text, primary_key=True),
        Column("fingerprint", LargeBinary, nullable=False),
        Column("response", LargeBinary),
        Column("rejection", LargeBinary),
        Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )
