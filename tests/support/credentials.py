"""A stranger who verifies credentials with what Education publishes, by an independent library."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

from azora.auth.v1 import events_pb2
from azora.education.v1 import certificate_service_pb2, credential_service_pb2
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from openbadgeslib.ob3.verifier import OB3Verifier

from tests.support.education import event

if TYPE_CHECKING:
    from azora.client import Metadata
    from azora.education.v1 import certificate_pb2
    from openbadgeslib.ob3.credential import OpenBadgeCredential

    from tests.support.education import Person, RunningEducation

AUTH: Metadata = (("x-forwarded-client-cert", "URI=spiffe://azora.local/ns/default/sa/auth"),)
PUBLIC_URL = "http://localhost:8080"


def part(token: str, number: int) -> dict[str, Any]:
    """Return the header (0) or the payload (1) of a JSON Web Token, whoever signed it."""
    encoded = token.split(".")[number]
    value: dict[str, Any] = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    return value


def _number(text: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")


async def public_key(education: RunningEducation, token: str) -> bytes:
    """Return the key that the token's header names, of those that Education publishes."""
    answer = await education.credentials.GetJwks(credential_service_pb2.GetJwksRequest())
    header = part(token, 0)
    (key,) = (key for key in answer.keys if key.kid == header["kid"])
    assert (key.kty, key.alg, key.use) == ("RSA", "RS256", "sig")
    numbers = RSAPublicNumbers(n=_number(key.n), e=_number(key.e))
    return numbers.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


async def status_list(education: RunningEducation, number: int = 0) -> str:
    """Return a signed status list."""
    body = await education.credentials.GetStatusList(credential_service_pb2.GetStatusListRequest(number=number))
    assert body.content_type == "application/vc+jwt"
    return str(body.data, "utf-8")


async def verified(education: RunningEducation, token: str) -> OpenBadgeCredential:
    """Verify a credential: signature, validity, and the status list with its signature. Raises OB3VerificationError."""
    url = part(token, 1)["credentialStatus"]["statusListCredential"]
    number = int(url.partition("?number=")[2] or 0)
    lists = {url: (await status_list(education, number)).encode()}
    verifier = OB3Verifier(await public_key(education, token))
    return await asyncio.to_thread(verifier.verify, token, check_status=True, download=lists.__getitem__)


async def certified(person: Person, course_id: str) -> certificate_pb2.Certificate:
    """Enrol, complete all required lessons, and return the certificate."""
    enrollment = await person.enroll(course_id)
    for lesson in (await person.progress(enrollment.id)).lessons:
        await person.complete(enrollment.id, lesson.lesson_id)
    (certificate,) = (await listed(person)).certificates
    return certificate


async def listed(
    person: Person, *, page_size: int = 0, page_token: str = ""
) -> certificate_service_pb2.ListCertificatesResponse:
    """List a person's certificates."""
    request = certificate_service_pb2.ListCertificatesRequest(page_size=page_size, page_token=page_token)
    return await person.education.certificates.ListCertificates(request, metadata=person.metadata)


async def credential(person: Person, certificate_id: str) -> str:
    """Return the credential of a person's certificate."""
    request = certificate_service_pb2.GetCertificateRequest(certificate_id=certificate_id)
    return (await person.education.certificates.GetCertificate(request, metadata=person.metadata)).credential


async def named(education: RunningEducation, user_id: str, name: str, version: int = 1) -> None:
    """Tell of a name as Auth does."""
    message = events_pb2.UserRenamed(user_id=user_id, name=name, version=version)
    await education.receive(event(message), metadata=AUTH)


async def revoke(person: Person, certificate_id: str) -> certificate_pb2.Certificate:
    """Revoke a certificate."""
    request = certificate_service_pb2.RevokeCertificateRequest(certificate_id=certificate_id, reason="Copied.")
    return (await person.education.certificates.RevokeCertificate(request, metadata=person.metadata)).certificate
