"""CertificateService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.education.v1 import certificate_service_pb2 as pb
from azora.education.v1 import certificate_service_pb2_grpc

from services.education.certificates import convert
from services.shared.principal import current_principal

if TYPE_CHECKING:
    from interceptors.base import Context
    from services.education.certificates.operations import CertificateOperations


class CertificateServicer(certificate_service_pb2_grpc.CertificateServiceServicer):
    """Certificates of completed courses."""

    def __init__(self, operations: CertificateOperations) -> None:
        self._operations = operations

    async def ListCertificates(
        self, request: pb.ListCertificatesRequest, context: Context
    ) -> pb.ListCertificatesResponse:
        page = await self._operations.list_certificates(
            principal=current_principal(), page_size=request.page_size, page_token=request.page_token
        )
        return convert.list_certificates_response(page)

    async def GetCertificate(self, request: pb.GetCertificateRequest, context: Context) -> pb.GetCertificateResponse:
        signed = await self._operations.get_certificate(
            principal=current_principal(), certificate_id=request.certificate_id
        )
        return convert.get_certificate_response(signed)

    async def VerifyCertificate(
        self, request: pb.VerifyCertificateRequest, context: Context
    ) -> pb.VerifyCertificateResponse:
        return convert.verify_certificate_response(
            await self._operations.verify_certificate(certificate_id=request.certificate_id)
        )

    async def RevokeCertificate(
        self, request: pb.RevokeCertificateRequest, context: Context
    ) -> pb.RevokeCertificateResponse:
        revoked = await self._operations.revoke_certificate(
            principal=current_principal(), certificate_id=request.certificate_id, reason=convert.reason(request)
        )
        return convert.revoke_certificate_response(revoked)
