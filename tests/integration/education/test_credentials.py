"""Credentials: Open Badges 3.0 in the JSON Web Token proof format, verified by an independent library."""

from __future__ import annotations

import asyncio
import base64
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from azora.education.v1 import credential_service_pb2
from openbadgeslib.ob3.verifier import OB3VerificationError

from services.education.certificates.store import LIST_BITS
from tests.support.credentials import (
    PUBLIC_URL,
    certified,
    credential,
    named,
    part,
    revoke,
    status_list,
    verified,
)
from tests.support.education import running_education
from tests.support.refusals import refusal
from tests.support.serving import Signer

if TYPE_CHECKING:
    from tests.support.education import RunningEducation
    from tests.support.postgres import Clone

pytestmark = pytest.mark.shared


async def test_an_independent_library_verifies_a_credential_until_it_is_revoked(education: RunningEducation) -> None:
    educator, learner, other = education.educator(), education.person(), education.person()
    course = await educator.published(title="Sourdough", description="Bread.")
    await named(education, learner.id, "Ada Lovelace")
    certificate, others = await certified(learner, course.id), await certified(other, course.id)
    token, others_token = await credential(learner, certificate.id), await credential(other, others.id)
    badge = await verified(education, token)
    assert badge.issuer.id == f"{PUBLIC_URL}/v1/credentials/issuer"
    assert badge.recipient_id == f"urn:uuid:{learner.id}"
    await revoke(educator, certificate.id)
    with pytest.raises(OB3VerificationError, match="revo"):
        await verified(education, token)
    await verified(education, others_token)


async def test_the_payload_is_the_credential_with_its_claims(education: RunningEducation) -> None:
    educator, learner = education.educator(), education.person()
    course = await educator.published(title="Sourdough", description="Bread.")
    certificate = await certified(learner, course.id)
    nameless = part(await credential(learner, certificate.id), 1)
    assert "identifier" not in nameless["credentialSubject"]
    await named(education, learner.id, "Ada Lovelace")
    token = await credential(learner, certificate.id)
    assert await credential(learner, certificate.id) == token, "the same credential each time"
    header, payload = part(token, 0), part(token, 1)
    assert set(header) == {"alg", "kid", "typ"}, "no other headers are allowed"
    assert (header["alg"], header["typ"]) == ("RS256", "JWT")
    assert header["kid"].startswith(f"{PUBLIC_URL}/v1/credentials/jwks#")
    assert payload["type"] == ["VerifiableCredential", "OpenBadgeCredential"]
    assert payload["@context"][0] == "https://www.w3.org/ns/credentials/v2"
    subject = payload["credentialSubject"]
    (identity,) = subject["identifier"]
    assert (identity["identityType"], identity["hashed"], identity["identityHash"]) == ("name", False, "Ada Lovelace")
    assert (subject["achievement"]["name"], subject["achievement"]["description"]) == ("Sourdough", "Bread.")
    assert payload["iss"] == payload["issuer"]["id"]
    assert payload["sub"] == subject["id"]
    assert payload["jti"] == payload["id"] == f"{PUBLIC_URL}/v1/certificates/{certificate.id}:verify"
    valid_from = datetime.fromisoformat(payload["validFrom"])
    assert payload["nbf"] == valid_from.timestamp() == certificate.issue_time.seconds
    assert "exp" not in payload
    entry = payload["credentialStatus"]
    assert entry["statusListCredential"] == f"{PUBLIC_URL}/v1/credentials/status"
    assert (entry["type"], entry["statusPurpose"]) == ("BitstringStatusListEntry", "revocation")


async def test_an_erased_persons_credential_counts_as_revoked(education: RunningEducation) -> None:
    course = await education.educator().published()
    learner = education.person()
    certificate = await certified(learner, course.id)
    token = await credential(learner, certificate.id)
    await verified(education, token)
    assert await education.replica.persons.erase_person(user_id=learner.id) == ""
    with pytest.raises(OB3VerificationError, match="revo"):
        await verified(education, token)


async def test_a_changed_credential_is_refused(education: RunningEducation) -> None:
    course = await education.educator().published()
    learner = education.person()
    token = await credential(learner, (await certified(learner, course.id)).id)
    header, payload, signature = token.split(".")
    changed = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)).replace(b"Sourdough", b"Surgery  ")
    forged = base64.urlsafe_b64encode(changed).rstrip(b"=").decode()
    with pytest.raises(OB3VerificationError):
        await verified(education, f"{header}.{forged}.{signature}")


async def test_the_issuer_is_a_profile_under_the_credentials_issuer(education_database: Clone) -> None:
    app_url, owner_url = education_database.app_url, education_database.owner_url
    async with running_education(app_url, owner_url, issuer_name="Baking School") as education:
        issuer = await education.credentials.GetIssuer(credential_service_pb2.GetIssuerRequest())
        assert (issuer.id, issuer.name) == (f"{PUBLIC_URL}/v1/credentials/issuer", "Baking School")
        assert list(issuer.type) == ["Profile"]
        assert issuer.context[0] == "https://www.w3.org/ns/credentials/v2"


async def test_status_lists_are_signed_once_per_change_and_hold_the_right_bits(education: RunningEducation) -> None:
    educator = education.educator()
    course = await educator.published()
    learners = [education.person() for _ in range(3)]
    certificates = [await certified(learner, course.id) for learner in learners]
    empty = await status_list(education)
    assert await status_list(education) == empty
    payload = part(empty, 1)
    assert payload["type"] == ["VerifiableCredential", "BitstringStatusListCredential"]
    assert payload["id"] == payload["jti"] == f"{PUBLIC_URL}/v1/credentials/status"
    assert payload["nbf"] < datetime.now(UTC).timestamp() < payload["exp"]
    tokens = [
        await credential(learner, certificate.id) for learner, certificate in zip(learners, certificates, strict=True)
    ]
    await revoke(educator, certificates[1].id)
    assert await status_list(education) != empty
    for number, token in enumerate(tokens):
        if number == 1:
            with pytest.raises(OB3VerificationError):
                await verified(education, token)
        else:
            await verified(education, token)


async def test_later_certificates_are_in_further_lists(education: RunningEducation) -> None:
    await education.sql(f"ALTER TABLE certificates ALTER COLUMN status_index RESTART WITH {2 * LIST_BITS + 9}")
    educator, learner = education.educator(), education.person()
    course = await educator.published()
    certificate = await certified(learner, course.id)
    token = await credential(learner, certificate.id)
    entry = part(token, 1)["credentialStatus"]
    assert entry["statusListCredential"] == f"{PUBLIC_URL}/v1/credentials/status?number=2"
    assert entry["statusListIndex"] == "9"
    await verified(education, token)
    first = await status_list(education)
    await revoke(educator, certificate.id)
    with pytest.raises(OB3VerificationError, match="revo"):
        await verified(education, token)
    assert await status_list(education) == first
    for number, code, reason in (
        (-1, "INVALID_ARGUMENT", "VALIDATION_FAILED"),
        (3, "NOT_FOUND", "STATUS_LIST_NOT_FOUND"),
    ):
        request = credential_service_pb2.GetStatusListRequest(number=number)
        refused = await refusal(education.credentials.GetStatusList(request))
        assert (refused.code, refused.reason) == (code, reason)


@pytest.mark.own
async def test_the_key_outlives_the_secret_that_encrypts_it(education_database: Clone) -> None:
    app_url, owner_url = education_database.app_url, education_database.owner_url
    signer = Signer()
    former, current = (base64.b64encode(os.urandom(32)).decode() for _ in range(2))
    async with running_education(app_url, owner_url, signer=signer, secret_key=former) as education:
        course = await education.educator().published()
        learner = education.person()
        certificate = await certified(learner, course.id)
        token = await credential(learner, certificate.id)
        (before,) = await education.sql("SELECT private_key_sealed FROM credential_keys")
        assert b"RSA" not in before["private_key_sealed"]
    for previous in (former, None):
        secrets = {"secret_key": current, "previous_secret_keys": previous}
        async with running_education(app_url, owner_url, through=None, signer=signer, **secrets) as education:
            again = education.person(user_id=learner.id)
            assert await credential(again, certificate.id) == token
            await verified(education, token)


async def test_processes_that_start_at_once_make_one_key(education: RunningEducation) -> None:
    served = education.credentials.GetJwks(credential_service_pb2.GetJwksRequest())
    answer, keys = await asyncio.gather(served, education.replica.credentials.get_jwks())
    assert [key.kid for key in answer.keys] == [key["kid"] for key in keys]
    assert len(keys) == 1


async def test_a_former_key_stays_published_and_the_newest_signs(education: RunningEducation) -> None:
    course = await education.educator().published()
    learner = education.person()
    token = await credential(learner, (await certified(learner, course.id)).id)
    await education.sql(
        "INSERT INTO credential_keys SELECT gen_random_uuid(), n, e, private_key_sealed, '2026-01-01' "
        "FROM credential_keys"
    )
    answer = await education.credentials.GetJwks(credential_service_pb2.GetJwksRequest())
    assert len(answer.keys) == 2
    assert answer.keys[-1].kid == part(token, 0)["kid"]
