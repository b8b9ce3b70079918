"""The documents that are signed: credentials (Open Badges 3.0) and status lists (Bitstring Status List 1.0).

Each is the payload of a JSON Web Token and has, beside the members of the document, the claims that repeat them (Open
Badges 3.0, section 8.2).
"""

from __future__ import annotations

import base64
import gzip
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from services.education.certificates.model import Certificate
    from services.education.credentials.model import Issuer

CREDENTIALS_CONTEXT = "https://www.w3.org/ns/credentials/v2"
BADGES_CONTEXT = "https://purl.imsglobal.org/spec/ob/v3p0/context-3.0.3.json"
CLOCK_SKEW = timedelta(minutes=5)
"""How much earlier than it is signed a status list is valid: clocks of verifiers differ."""
LIST_LIFETIME = timedelta(days=1)
"""Time for which a verifier may rely on a copy of a status list."""


def credential(issuer: Issuer, certificate: Certificate, *, list_bits: int) -> Mapping[str, Any]:
    """Return a certificate as an OpenBadgeCredential. Its times are in whole seconds, as JSON Web Tokens have them."""
    list_number, position = divmod(certificate.status_index, list_bits)
    list_url = issuer.status_list_url(list_number)
    subject: dict[str, Any] = {
        "id": f"urn:uuid:{certificate.user_id}",
        "type": ["AchievementSubject"],
        "achievement": {
            "id": f"{issuer.base_url}/v1/courses/{certificate.course_id}?revision={certificate.course_revision}",
            "type": ["Achievement"],
            "achievementType": "Course",
            "name": certificate.course_title,
            "description": certificate.course_description or certificate.course_title,
            "criteria": {"narrative": "All required lessons of the course are completed, its quizzes passed."},
        },
    }
    if certificate.learner_name:
        subject["identifier"] = [
            {
                "type": "IdentityObject",
                "identityType": "name",
                "hashed": False,
                "identityHash": certificate.learner_name,
            }
        ]
    return _claims(
        {
            "@context": [CREDENTIALS_CONTEXT, BADGES_CONTEXT],
            "id": issuer.certificate_url(certificate.id),
            "type": ["VerifiableCredential", "OpenBadgeCredential"],
            "name": certificate.course_title,
            "issuer": {"id": issuer.id, "type": ["Profile"], "name": issuer.name, "url": issuer.base_url},
            "credentialSubject": subject,
            "credentialStatus": {
                "id": f"{list_url}#{position}",
                "type": "BitstringStatusListEntry",
                "statusPurpose": "revocation",
                "statusListIndex": str(position),
                "statusListCredential": list_url,
            },
        },
        valid_from=certificate.issue_time,
    )


def status_list(
    issuer: Issuer, number: int, positions: Iterable[int], *, now: datetime, list_bits: int
) -> Mapping[str, Any]:
    """Return the status list in which these positions are revoked."""
    url = issuer.status_list_url(number)
    return _claims(
        {
            "@context": [CREDENTIALS_CONTEXT],
            "id": url,
            "type": ["VerifiableCredential", "BitstringStatusListCredential"],
            "issuer": issuer.id,
            "credentialSubject": {
                "id": f"{url}#list",
                "type": "BitstringStatusList",
                "statusPurpose": "revocation",
                "encodedList": encoded_list(positions, list_bits),
            },
        },
        valid_from=now - CLOCK_SKEW,
        valid_until=now + LIST_LIFETIME,
    )


def encoded_list(positions: Iterable[int], list_bits: int) -> str:
    """Return a bitstring, its leftmost bit for position 0, compressed and as multibase base64url."""
    bits = bytearray(list_bits // 8)
    for position in positions:
        bits[position // 8] |= 0x80 >> position % 8
    return "u" + base64.urlsafe_b64encode(gzip.compress(bytes(bits), mtime=0)).rstrip(b"=").decode()


def _claims(
    document: Mapping[str, Any], *, valid_from: datetime, valid_until: datetime | None = None
) -> Mapping[str, Any]:
    """Return a document with its period of validity, as it states it itself and as the claims of a JSON Web Token."""
    issuer = document["issuer"]
    claims = {
        **document,
        "validFrom": _text(valid_from),
        "iss": issuer if isinstance(issuer, str) else issuer["id"],
        "jti": document["id"],
        "nbf": int(valid_from.timestamp()),
        "sub": document["credentialSubject"]["id"],
    }
    if valid_until:
        claims |= {"validUntil": _text(valid_until), "exp": int(valid_until.timestamp())}
    return claims


def _text(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
