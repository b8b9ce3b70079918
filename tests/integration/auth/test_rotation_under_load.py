"""Rotation under load, through the real Envoy: no valid token is ever refused, by whoever has a cache of keys."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import jwt

from services.auth.signing_keys.model import KeyState
from tests.support.rotating import RotatingSystem, rotating_system
from tests.support.waiting import eventually, paced

if TYPE_CHECKING:
    from tests.support.postgres import Clone

TOKEN_SECONDS = 4
MARGIN_SECONDS = 1.0
"""Time before its expiry from which a token is not used any more: a call may take a moment on a busy machine."""
LOAD_SECONDS = 60.0
ROTATIONS = 3


def expires(token: str) -> float:
    """Return when a token expires, in Unix time."""
    return float(jwt.decode(token, options={"verify_signature": False})["exp"])


class Load:
    """Signs in again and again, and uses every token until just before it expires."""

    def __init__(self, system: RotatingSystem) -> None:
        self._system = system
        self._tokens: list[str] = []
        self.kids: Counter[str] = Counter()
        self.refused: list[tuple[str, tuple[int, int]]] = []
        self.used = 0

    async def sign_in(self) -> None:
        """Sign in, and use the token at once: the youngest has the newest key."""
        token = await self._system.login()
        self.kids[jwt.get_unverified_header(token)["kid"]] += 1
        self._tokens.append(token)
        await self.use(token)

    async def has_signed(self, key_id: str) -> bool:
        """Whether a token of this key was seen."""
        return key_id in self.kids

    async def use_old(self) -> None:
        """Use the oldest token that is still valid, and any other."""
        self._tokens = [token for token in self._tokens if expires(token) - time.time() > MARGIN_SECONDS]
        for token in {*self._tokens[:1], *random.sample(self._tokens, min(1, len(self._tokens)))}:
            await self.use(token)

    async def use(self, token: str) -> None:
        """Use a token everywhere."""
        statuses = await self._system.statuses(token)
        self.used += 1
        if statuses != (200, 200):
            self.refused.append((jwt.get_unverified_header(token)["kid"], statuses))


async def test_a_rotation_under_load_refuses_no_valid_token(auth_database: Clone) -> None:
    async with rotating_system(auth_database, token_seconds=TOKEN_SECONDS) as system:
        load, rotated = Load(system), asyncio.Event()

        async def call() -> None:
            async for _ in paced(8, LOAD_SECONDS):
                await asyncio.gather(load.sign_in(), load.use_old())
                if rotated.is_set():
                    return

        async def rotate() -> None:
            """Rotate as two operators do at once, while the schedule runs; until the replaced keys are retired."""
            replaced = (await system.keys.find_signer()).key_id
            for _ in range(ROTATIONS):
                async for _ in paced(2, LOAD_SECONDS):
                    attempts = (system.keys.rotate_signing_key(replaced_key_id=replaced) for _ in range(2))
                    (one, other), _ = await asyncio.gather(asyncio.gather(*attempts), system.keys.rotate_signing_keys())
                    if not one.wait_seconds + other.wait_seconds:
                        replaced = one.active_key_id
                        break
                await eventually(partial(load.has_signed, replaced), within_seconds=LOAD_SECONDS)
            async for _ in paced(2, LOAD_SECONDS):
                await system.keys.rotate_signing_keys()
                states = Counter(key.state for key in await system.keys.list_signing_keys())
                if not states[KeyState.RETIRING]:
                    break
            assert states == {KeyState.RETIRED: ROTATIONS, KeyState.ACTIVE: 1, KeyState.NEXT: 1}
            rotated.set()

        await asyncio.gather(call(), rotate())
        assert rotated.is_set()
    assert load.refused == []
    assert len(load.kids) == ROTATIONS + 1, "every key has signed"
    assert load.used > 100
