"""Idempotency keys: the same key has one effect and one answer, written in the transaction of the effect.

A verdict on the request (insufficient funds, say) is an answer too and is kept; a fault of the moment is not.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from sqlalchemy import Column, DateTime, LargeBinary, Table, Text, bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from services.shared.errors import DomainError, IdempotencyKeyReused, revive
from services.shared.principal import current_request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy import MetaData
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.shared.db import Database

KEEP = timedelta(hours=24)
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

    def __init__(self, database: Database, metadata: MetaData) -> None:
        self._database = database
        self._table = _table(metadata)
        columns = self._table.c
        same = [columns[name] == bindparam(f"the_{name}") for name in ("principal_id", "method", "key")]
        self._claim = insert(self._table).on_conflict_do_nothing().returning(columns.key)
        self._find = select(columns.fingerprint, columns.response, columns.rejection).where(*same)
        self._store = self._table.update().where(*same)
        self._expire = delete(self._table).where(columns.create_time < func.now() - KEEP)

    async def run(
        self, call: Idempotent[Effect, Response], effect: Callable[[AsyncConnection], Awaitable[Effect]]
    ) -> Response:
        """Run `effect` once for this key, in one transaction with its record; later calls get the same answer.

        A concurrent twin waits on the record's row and replays. Raises IdempotencyKeyReused for another request under
        the key, and whatever DomainError the effect raised, now or then.
        """

        async def attempt(connection: AsyncConnection) -> Response | DomainError:
            identity = {"principal_id": call.principal_id, "method": call.method, "key": call.key}
            claimed = await connection.execute(self._claim, {**identity, "fingerprint": call.fingerprint})
            where = {f"the_{name}": value for name, value in identity.items()}
            if claimed.first() is None:
                return self._replay(call, (await connection.execute(self._find, where)).one())
            try:
                async with connection.begin_nested():
                    response = call.encode(await effect(connection))
            except DomainError as rejection:
                if not rejection.stored:
                    raise
                stored = json.dumps(rejection.record(), sort_keys=True).encode()
                await connection.execute(self._store.values(rejection=stored), where)
                return rejection
            await connection.execute(self._store.values(response=response.SerializeToString(deterministic=True)), where)
            return response

        answer = await self._database.transaction(attempt)
        if isinstance(answer, DomainError):
            raise answer
        return answer

    async def expire(self) -> None:
        """Delete records older than a day."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(self._expire)

        await self._database.transaction(work)

    @staticmethod
    def _replay(
        call: Idempotent[Effect, Response], record: tuple[bytes, bytes | None, bytes | None]
    ) -> Response | DomainError:
        fingerprint, response, rejection = record
        if fingerprint != call.fingerprint:
            raise IdempotencyKeyReused
        request = current_request()
        if request is not None:
            request.initial_metadata["idempotent-replayed"] = "true"
        return revive(json.loads(rejection)) if rejection is not None else call.decode(response or b"")


def _table(metadata: MetaData) -> Table:
    return Table(
        "idempotency_records",
        metadata,
        Column("principal_id", Text, primary_key=True),
        Column("method", Text, primary_key=True),
        Column("key", Text, primary_key=True),
        Column("fingerprint", LargeBinary, nullable=False),
        Column("response", LargeBinary),
        Column("rejection", LargeBinary),
        Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )
