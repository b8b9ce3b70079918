"""Conversion between certificates and their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.education.v1 import certificate_pb2
from azora.education.v1 import certificate_service_pb2 as pb

from services.shared.convert import timestamp
from services.shared.validation import refuse_nul

if TYPE_CHECKING:
    from services.education.certificates.model import Certificate, SignedCertificate
    from services.shared.pagination import Page


def reason(request: pb.RevokeCertificateRequest) -> str:
    """Return the reason of a revocation. Raises ValidationFailed."""
    refuse_nul(request)
    return request.reason.strip()


def certificate(model: Certificate) -> certificate_pb2.Certificate:
    """Return the message of a certificate."""
    revoked, issued = certificate_pb2.CERTIFICATE_STATE_REVOKED, certificate_pb2.CERTIFICATE_STATE_ISSUED
    return certificate_pb2.Certificate(
        id=model.id,
        course_id=model.course_id,
        course_revision=model.course_revision,
        course_title=model.course_title,
        learner_name=model.learner_name,
        state=revoked if model.revoked else issued,
        issue_time=timestamp(model.issue_time),
        revoke_time=timestamp(model.revoke_time),
        revoke_reason=model.revoke_reason,
    )


def list_certificates_response(page: Page[Certificate]) -> pb.ListCertificatesResponse:
    """Return the answer of ListCertificates."""
    return pb.ListCertificatesResponse(
        certificates=[certificate(model) for model in page.items], next_page_token=page.next_page_token
    )


def get_certificate_response(signed: SignedCertificate) -> pb.GetCertificateResponse:
    """Return the answer of GetCertificate."""
    return pb.GetCertificateResponse(certificate=certificate(signed.certificate), credential=signed.credential)


def verify_certificate_response(model: Certificate) -> pb.VerifyCertificateResponse:
    """Return the answer of VerifyCertificate."""
    return pb.VerifyCertificateResponse(valid=not model.revoked, certificate=certificate(model))


def revoke_certificate_response(model: Certificate) -> pb.RevokeCertificateResponse:
    """Return the answer of RevokeCertificate."""
    return pb.RevokeCertificateResponse(certificate=certificate(model))
