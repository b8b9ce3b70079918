"""Rotation and revocation of signing keys, step by step: each may be the last before a crash, and run twice at once."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from sqlalchemy import text

from services.auth.container import Container
from services.auth.signing_keys.model import KeyState
from services.auth.signing_keys.store import SigningKeyStore
from services.shared.errors import DependencyUnavailable
from tests.support.auth import SECRET_KEY, RunningAuth, auth_settings
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.auth.signing_keys.operations import SigningKeyOperations

HOUR_AGO = "clock_timestamp() - interval '1 hour'"


@asynccontextmanager
async def opened(auth: RunningAuth, **changes: Any) -> AsyncIterator[SigningKeyOperations]:
    """Give the operations of another replica."""
    container = Container(auth_settings(auth.settings.database_url.get_secret_value(), **changes))
    try:
        yield container.keys
    finally:
        await container.close()


async def states(auth: RunningAuth) -> dict[str, str]:
    """Return the state of every key, the oldest first."""
    rows = await auth.sql("SELECT id::text, state FROM signing_keys ORDER BY id")
    return {row["id"]: row["state"] for row in rows}


async def publish_long_ago(auth: RunningAuth) -> None:
    """Make the next key one that all caches hold."""
    await auth.sql(f"UPDATE signing_keys SET publish_time = {HOUR_AGO} WHERE state = 'NEXT'")  # noqa: S608


async def published(auth: RunningAuth) -> set[str]:
    """Return the ids of the published keys."""
    return {key["kid"] for key in await assemble_keys(auth)}


async def assemble_keys(auth: RunningAuth) -> list[dict[str, str]]:
    async with opened(auth) as keys:
        return [dict(key.jwk()) for key in await keys.list_published_keys()]


def kid(token: str) -> str:
    found: str = jwt.get_unverified_header(token)["kid"]
    return found


async def test_a_key_is_promoted_only_when_it_was_published_for_longer_than_the_longest_cache(
    auth: RunningAuth,
) -> None:
    async with opened(auth, jwks_cache_seconds=60) as keys:
        await keys.rotate_signing_keys()
        before = await states(auth)
        waiting = await keys.rotate_signing_key()
        assert 60 < waiting.wait_seconds <= 63
        assert await states(auth) == before
        await auth.sql(
            "UPDATE signing_keys SET publish_time = clock_timestamp() - interval '62 s' WHERE state = 'NEXT'"
        )
        assert 0 < (await keys.rotate_signing_key()).wait_seconds <= 1
        await auth.sql(
            "UPDATE signing_keys SET publish_time = clock_timestamp() - interval '64 s' WHERE state = 'NEXT'"
        )
        done = await keys.rotate_signing_key()
    first, second = before
    assert (done.active_key_id, done.wait_seconds) == (second, 0)
    assert await states(auth) == {first: "RETIRING", second: "ACTIVE", done.next_key_id: "NEXT"}
    assert await auth.recorded(f"signingKeys/{second}") == ["signing_key.rotate"]


async def test_a_key_counts_as_published_from_after_its_commit(auth: RunningAuth) -> None:
    async with opened(auth, jwks_cache_seconds=1) as keys:
        await auth.sql("UPDATE signing_keys SET publish_time = NULL, create_time = now() - interval '1 day'")
        assert (await keys.rotate_signing_key()).wait_seconds == 4, "nobody has seen it published"
        [row] = await auth.sql(
            "SELECT publish_time > now() - interval '1 minute' AS now FROM signing_keys WHERE state = 'NEXT'"
        )
        assert row["now"]


async def test_a_replaced_key_is_published_until_no_token_of_it_is_valid(auth: RunningAuth) -> None:
    session = await auth.register("thandi@example.com")
    times = {"access_token_seconds": 60, "signing_key_cache_seconds": 5}
    async with opened(auth, **times) as keys:
        await publish_long_ago(auth)
        await keys.rotate_signing_key()
        old = kid(session.access_token)
        for age, state in ((69, "RETIRING"), (71, "RETIRED")):
            # Token lifetime 60 s, cache of the signer 5 s, leeway 5 s.
            await auth.sql(
                "UPDATE signing_keys SET retire_time = now() - make_interval(secs => $1) WHERE id::text = $2",
                age,
                old,
            )
            await keys.rotate_signing_keys()
            assert (await states(auth))[old] == state
            assert (old in await published(auth)) == (state == "RETIRING")


async def test_a_key_that_no_longer_signs_has_no_private_half(auth: RunningAuth) -> None:
    async with opened(auth) as keys:
        await publish_long_ago(auth)
        await keys.rotate_signing_key()
    rows = await auth.sql("SELECT state, private_key_sealed IS NULL AS erased FROM signing_keys ORDER BY id")
    assert [tuple(row) for row in rows] == [("RETIRING", True), ("ACTIVE", False), ("NEXT", False)]


async def test_the_schedule_replaces_a_key_that_has_signed_for_long_enough(auth: RunningAuth) -> None:
    first, second = await states(auth)
    async with opened(auth, signing_key_days=90) as keys:
        await publish_long_ago(auth)
        await keys.rotate_signing_keys()
        assert (await states(auth))[first] == "ACTIVE"
        await auth.sql("UPDATE signing_keys SET activate_time = now() - interval '91 days' WHERE state = 'ACTIVE'")
        await auth.sql("UPDATE signing_keys SET publish_time = now() WHERE state = 'NEXT'")
        await keys.rotate_signing_keys()
        assert (await states(auth))[first] == "ACTIVE", "due, and its successor is not yet known everywhere"
        await publish_long_ago(auth)
        await keys.rotate_signing_keys()
        await keys.rotate_signing_keys()
    after = await states(auth)
    assert (after[first], after[second], len(after)) == ("RETIRING", "ACTIVE", 3)


async def test_the_process_rotates_by_its_schedule(auth: RunningAuth) -> None:
    async def scheduled() -> bool:
        return bool(await auth.sql("SELECT FROM pgqueuer_schedules WHERE entrypoint = 'rotate_signing_keys'"))

    await eventually(scheduled)


async def test_two_replicas_that_rotate_at_once_rotate_once(auth: RunningAuth) -> None:
    first, second = await states(auth)
    async with opened(auth) as one, opened(auth) as other:
        await publish_long_ago(auth)
        calls = [keys.rotate_signing_key(replaced_key_id=first) for keys in (one, other) for _ in range(5)]
        rotations = await asyncio.gather(*calls)
    assert {rotation.active_key_id for rotation in rotations} == {second}
    assert all(rotation.wait_seconds == 0 for rotation in rotations)
    assert sorted((await states(auth)).values()) == ["ACTIVE", "NEXT", "RETIRING"]


async def test_two_replicas_whose_schedules_are_due_at_once_rotate_once(auth: RunningAuth) -> None:
    first, second = await states(auth)
    async with opened(auth) as one, opened(auth) as other:
        await publish_long_ago(auth)
        await auth.sql("UPDATE signing_keys SET activate_time = now() - interval '1 year' WHERE state = 'ACTIVE'")
        await asyncio.gather(*(keys.rotate_signing_keys() for keys in (one, other) for _ in range(5)))
    after = await states(auth)
    assert (after[first], after[second], len(after)) == ("RETIRING", "ACTIVE", 3)


class Crash(Exception):
    """The process ends here."""


STEPS = [name for name in vars(SigningKeyStore) if name.startswith(("insert", "update"))]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("after", [False, True], ids=["before it", "after it"])
async def test_a_crash_between_any_two_steps_of_a_rotation_refuses_no_token_and_is_made_good(
    auth: RunningAuth, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    old = await auth.register("thandi@example.com")
    await publish_long_ago(auth)
    original = getattr(SigningKeyStore, step)

    async def crashing(self: SigningKeyStore, *arguments: Any) -> Any:
        if after:
            await original(self, *arguments)
        raise Crash

    async with opened(auth) as keys, opened(auth) as survivor:
        with monkeypatch.context() as patch:
            patch.setattr(SigningKeyStore, step, crashing)
            for work in (keys.rotate_signing_key, keys.rotate_signing_keys):
                try:
                    await work()
                except Crash:
                    continue
        found = list((await states(auth)).values())
        assert (found.count("ACTIVE"), found.count("NEXT")) == (1, 1)
        fresh = await auth.login("thandi@example.com")
        for session in (old, fresh):
            assert kid(session.access_token) in await published(auth)
            assert (await auth.profile(session.access_token)).user == old.user
        # Whoever comes next goes on where it ended.
        await survivor.rotate_signing_keys()
        await publish_long_ago(auth)
        assert not (await survivor.rotate_signing_key()).wait_seconds
    assert not await auth.sql(
        "SELECT FROM signing_keys WHERE publish_time IS NULL OR (state = 'RETIRING' AND retire_time IS NULL)"
    )


async def test_a_revoked_active_key_is_replaced_and_published_no_more_at_once(auth: RunningAuth) -> None:
    first, second = await states(auth)
    async with opened(auth) as keys:
        await publish_long_ago(auth)
        rotation = await keys.revoke_signing_key(key_id=first)
        assert rotation is not None
        assert (rotation.active_key_id, rotation.wait_seconds) == (second, 0)
        assert await states(auth) == {first: "RETIRED", second: "ACTIVE", rotation.next_key_id: "NEXT"}
        assert await published(auth) == {second, rotation.next_key_id}
        [key, *_] = await keys.list_signing_keys()
        assert (key.revoked, key.private_key_sealed) == (True, None)
        again = await keys.revoke_signing_key(key_id=first)
        assert again is not None
        assert again == replace(rotation, wait_seconds=0)
    assert list(await auth.recorded(f"signingKeys/{first}")) == ["signing_key.revoke"]


async def test_a_revoked_key_is_replaced_by_one_that_caches_may_lack_and_says_so(auth: RunningAuth) -> None:
    first, second = await states(auth)
    async with opened(auth, jwks_cache_seconds=60) as keys:
        rotation = await keys.revoke_signing_key(key_id=first)
    assert rotation is not None
    assert rotation.active_key_id == second
    assert 0 < rotation.wait_seconds <= 63


async def test_a_next_key_that_leaked_never_signs(auth: RunningAuth) -> None:
    first, second = await states(auth)
    async with opened(auth) as keys:
        rotation = await keys.revoke_signing_key(key_id=second)
        assert rotation is not None
        assert await states(auth) == {first: "ACTIVE", second: "RETIRED", rotation.next_key_id: "NEXT"}


async def test_a_key_is_not_revoked_by_a_command_that_takes_too_long(
    auth: RunningAuth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stopped and continued again and again: services would not look for revocations of its time any more."""

    async def dawdle(connection: AsyncConnection, **_values: object) -> None:
        for _ in range(50):
            await connection.execute(text("SELECT pg_sleep(0.1)"))

    before = await states(auth)
    monkeypatch.setattr("services.auth.signing_keys.operations.COMMAND_SECONDS", 0.3)
    monkeypatch.setattr("services.auth.signing_keys.operations.record", dawdle)
    async with opened(auth) as keys:
        with pytest.raises(DependencyUnavailable):
            await keys.revoke_signing_key(key_id=max(before))
    assert await states(auth) == before
    assert not await auth.sql("SELECT FROM revocations")


async def test_only_a_key_that_exists_is_revoked(auth: RunningAuth) -> None:
    before = await states(auth)
    async with opened(auth) as keys:
        assert await keys.revoke_signing_key(key_id="01a21740-2bbc-7dc2-82b8-d09f178c1b6f") is None
    assert await states(auth) == before


async def azora(auth: RunningAuth, *arguments: str, **settings: str) -> tuple[int | None, str]:
    """Run `azora keys ...` in Auth's environment; return its exit code and what it said."""
    environment = os.environ | {
        "AZORA_ENV": "development",
        "AZORA_LISTEN": "unix:/tmp/unused",
        "AZORA_DATABASE_URL": auth.settings.database_url.get_secret_value(),
        "AZORA_SECRET_KEY": SECRET_KEY,
        **settings,
    }
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("azora"),
        "keys",
        *arguments,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


async def test_operators_rotate_list_and_revoke_keys_by_command(auth: RunningAuth) -> None:
    first, second = await states(auth)
    await auth.sql("UPDATE signing_keys SET publish_time = NULL")
    code, said = await azora(auth, "rotate", AZORA_JWKS_CACHE_SECONDS="6")  # Longer than a command takes to start.
    third = list(await states(auth))[-1]
    waits, rotated = said.splitlines()
    assert (code, rotated) == (0, f"{second} signs; {third} is next")
    # Nine seconds, but for those since the service has published the key.
    assert re.fullmatch(rf"{second} is next; waiting [1-9] s until no cache of public keys lacks it", waits)
    code, said = await azora(auth, "list")
    assert code == 0
    assert [line.split()[:2] for line in said.splitlines()[1:]] == [
        [first, KeyState.RETIRING],
        [second, KeyState.ACTIVE],
        [third, KeyState.NEXT],
    ]
    await publish_long_ago(auth)
    code, said = await azora(auth, "revoke", second.upper())
    assert code == 0
    assert said.splitlines()[0].startswith("revoked ")
    assert (await states(auth))[second] == KeyState.RETIRED
    for unknown in ("nonsense", "01a21740-2bbc-7dc2-82b8-d09f178c1b6f"):
        code, said = await azora(auth, "revoke", unknown)
        assert (code, said) == (1, f"azora keys revoke: no signing key has the id {unknown}\n")
