"""Databases of earlier versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
from azora.auth.v1 import events_pb2

from services.shared.ids import new_id
from services.shared.migrations import upgrade
from tests.support.auth import running_auth

if TYPE_CHECKING:
    from tests.support.postgres import Databases

ACCOUNT = """
    INSERT INTO users (id, email, email_folded, password_hash, role, name) VALUES ($1, $2, $2, '', 'ROLE_STUDENT', $3)
"""


async def test_education_is_told_the_names_of_those_who_registered_before(databases: Databases) -> None:
    names = {new_id(): f"Person {number} Ünï" for number in range(3)}
    async with databases.old("auth", "0005") as clone:
        connection = await asyncpg.connect(clone.owner_url.replace("+asyncpg", ""))
        for user_id, name in names.items():
            await connection.execute(ACCOUNT, user_id, f"{user_id}@example.com", name)
        await connection.close()
        await upgrade("auth", clone.owner_url)
        async with running_auth(clone.owner_url, clone.app_url) as auth:
            rows = await auth.sql("SELECT preferences::text AS preferences, name_version FROM users")
            assert [tuple(row) for row in rows] == [("{}", 1)] * 3
            await auth.wait_for_events("education", 3)
            events = [events_pb2.UserRenamed.FromString(event.what.value) for event in auth.events("education")]
    assert {event.user_id: event.name for event in events} == names
    assert {event.version for event in events} == {1}


async def test_accounts_from_before_are_active_and_are_found_by_their_names(databases: Databases) -> None:
    user_id = new_id()
    async with databases.old("auth", "0007") as clone:
        connection = await asyncpg.connect(clone.owner_url.replace("+asyncpg", ""))
        await connection.execute(ACCOUNT, user_id, "thandi@example.com", "Thandi Ünï")
        await upgrade("auth", clone.owner_url)
        rows = await connection.fetch("""
            SELECT id, state FROM users
            WHERE name_ngrams(name) @> name_ngrams('ÜNÏ') AND strpos(name_folded(name), name_folded('ÜNÏ')) > 0
        """)
        await connection.close()
    assert [(str(row["id"]), row["state"]) for row in rows] == [(user_id, "ACTIVE")]


async def test_a_key_that_signs_goes_on_after_an_update(databases: Databases) -> None:
    async with databases.old("auth", "0005") as clone:
        connection = await asyncpg.connect(clone.owner_url.replace("+asyncpg", ""))
        await connection.execute(
            "INSERT INTO signing_keys (id, state, x, y, private_key_sealed) VALUES ($1, 'ACTIVE', 'x', 'y', '')",
            new_id(),
        )
        await upgrade("auth", clone.owner_url)
        rows = await connection.fetch(
            "SELECT state, publish_time = create_time, activate_time = create_time, retire_time FROM signing_keys"
        )
        await connection.close()
    assert [tuple(row) for row in rows] == [("ACTIVE", True, True, None)]
