"""An authenticator, and what a client does with second factors and known devices."""

from __future__ import annotations

import base64
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from azora.auth.v1 import auth_service_pb2 as pb
from azora.auth.v1 import auth_service_pb2_grpc, device_service_pb2_grpc, mfa_service_pb2, mfa_service_pb2_grpc
from azora.client import bearer
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from tests.support.auth import PASSWORD
from tests.support.serving import channel_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.auth import RunningAuth

STEP_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Shows the codes of a secret."""

    secret: str
    """In base32."""

    def code(self, steps: int = 0) -> str:
        """Return the code of now, or of some time steps from now."""
        totp = TOTP(base64.b32decode(self.secret), 6, SHA1(), STEP_SECONDS)  # noqa: S303 - what authenticators use
        return totp.generate(int(time.time()) + steps * STEP_SECONDS).decode()

    def next_code(self) -> str:
        """Return the code of the next time step, good already and still good should that step begin meanwhile."""
        return self.code(1)

    def wrong_code(self) -> str:
        """Return a code that is not accepted, now or in a minute."""
        good = {self.code(steps) for steps in range(-3, 4)}
        return next(code for code in ("000000", "111111", "222222", "333333", "444444") if code not in good)


@dataclass(frozen=True, slots=True)
class Client:
    """Calls Auth from an address."""

    auth: auth_service_pb2_grpc.AuthServiceAsyncStub
    mfa: mfa_service_pb2_grpc.MfaServiceAsyncStub
    devices: device_service_pb2_grpc.DeviceServiceAsyncStub

    async def login(
        self, email: str, password: str = PASSWORD, *, device_token: str = "", address: str = ""
    ) -> pb.LoginResponse:
        """Sign in, from a device and an address."""
        request = pb.LoginRequest(email=email, password=password, device_token=device_token)
        return await self.auth.Login(request, metadata=seen_from(address))

    async def verify(
        self, challenge_id: str, code: str, *, address: str = ""
    ) -> mfa_service_pb2.VerifyChallengeResponse:
        """Meet a challenge."""
        request = mfa_service_pb2.VerifyChallengeRequest(challenge_id=challenge_id, code=code)
        return await self.mfa.VerifyChallenge(request, metadata=seen_from(address))

    async def enroll(self, access_token: str, password: str = "") -> Authenticator:
        """Enrol an authenticator; it is not confirmed."""
        request = mfa_service_pb2.EnrollTotpRequest(password=password)
        return Authenticator((await self.mfa.EnrollTotp(request, metadata=bearer(access_token))).secret)

    async def confirm(self, access_token: str, code: str) -> list[str]:
        """Confirm an authenticator; return the recovery codes."""
        request = mfa_service_pb2.ConfirmTotpRequest(code=code)
        return [*(await self.mfa.ConfirmTotp(request, metadata=bearer(access_token))).recovery_codes]

    async def enable(self, access_token: str) -> tuple[Authenticator, list[str]]:
        """Enrol and confirm an authenticator; return it and the recovery codes. Its next code is the first to use."""
        authenticator = await self.enroll(access_token)
        return authenticator, await self.confirm(access_token, authenticator.code())

    async def disable(self, access_token: str, code: str, password: str = PASSWORD) -> None:
        """Disable the authenticator."""
        request = mfa_service_pb2.DisableTotpRequest(password=password, code=code)
        await self.mfa.DisableTotp(request, metadata=bearer(access_token))

    async def regenerate(self, access_token: str, code: str, password: str = PASSWORD) -> list[str]:
        """Replace the recovery codes."""
        request = mfa_service_pb2.RegenerateRecoveryCodesRequest(password=password, code=code)
        return [*(await self.mfa.RegenerateRecoveryCodes(request, metadata=bearer(access_token))).recovery_codes]


def seen_from(address: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata by which Envoy tells a client's address: what the client claimed, and then what it saw."""
    return (("x-forwarded-for", address),) if address else ()


@asynccontextmanager
async def client_of(auth: RunningAuth) -> AsyncIterator[Client]:
    """Give a client of a running Auth."""
    async with channel_to(auth.target) as channel:
        yield Client(
            auth_service_pb2_grpc.AuthServiceStub(channel),
            mfa_service_pb2_grpc.MfaServiceStub(channel),
            device_service_pb2_grpc.DeviceServiceStub(channel),
        )
