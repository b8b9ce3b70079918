"""Certificate operations: retrieval, verification and revocation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from services.education import errors
from services.education.certificates.model import SignedCertificate
from services.education.courses.operations import may_edit
from services.shared.audit.model import Action
from services.shared.audit.recording import record

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.education.certificates.model import Certificate
    from services.education.certificates.store import CertificateStore
    from services.education.courses.store import CourseStore
    from services.shared.db import Database
    from services.shared.pagination import Page, PageTokens
    from services.shared.principal import Principal


class Credentials(Protocol):
    """Signs what certificates say."""

    async def sign_certificate(self, *, certificate: Certificate) -> str:
        """Return the certificate's credential."""
        ...


class CertificateOperations:
    """Certificates of the caller, their verification by anyone, and their revocation."""

    def __init__(
        self,
        *,
        database: Database,
        store: CertificateStore,
        courses: CourseStore,
        credentials: Credentials,
        pages: PageTokens,
    ) -> None:
        self._database = database
        self._store = store
        self._courses = courses
        self._credentials = credentials
        self._pages = pages

    async def list_certificates(self, *, principal: Principal, page_size: int, page_token: str) -> Page[Certificate]:
        """Return a page of the caller's certificates, newest first. Raises PageTokenInvalid."""
        bound_to = {"method": "ListCertificates", "user": principal.user_id}
        request = self._pages.request(page_size=page_size, page_token=page_token, bound_to=bound_to)
        async with self._database.reading() as connection:
            found = await self._store.list_certificates(connection, request, principal.user_id)
        return request.page(found, lambda certificate: [certificate.status_index])

    async def get_certificate(self, *, principal: Principal, certificate_id: str) -> SignedCertificate:
        """Return one of the caller's certificates with its credential. Raises CertificateNotFound."""
        async with self._database.reading() as connection:
            certificate = await self._store.find_certificate(connection, certificate_id)
        if certificate is None or certificate.user_id != principal.user_id:
            raise errors.CertificateNotFound
        if certificate.revoked:
            return SignedCertificate(certificate, "")
        return SignedCertificate(certificate, await self._credentials.sign_certificate(certificate=certificate))

    async def verify_certificate(self, *, certificate_id: str) -> Certificate:
        """Return a certificate as anyone may see it. Raises CertificateNotFound."""
        async with self._database.reading() as connection:
            certificate = await self._store.find_certificate(connection, certificate_id)
        if certificate is None:
            raise errors.CertificateNotFound
        return certificate.shown()

    async def revoke_certificate(self, *, principal: Principal, certificate_id: str, reason: str) -> Certificate:
        """Revoke a certificate of a course that the caller may edit, for good. Raises CertificateNotFound."""

        async def work(connection: AsyncConnection) -> Certificate:
            before = await self._store.lock_certificate(connection, certificate_id)
            if before is None:
                raise errors.CertificateNotFound
            course = await self._courses.find_course(connection, before.course_id)
            if course is None or not may_edit(principal, course):
                raise errors.CertificateNotFound
            if before.revoked:
                return before.shown()
            await self._store.update_revoked(connection, certificate_id, reason=reason)
            await record(connection, action=Action.CERTIFICATE_REVOKE, target=f"certificates/{certificate_id}")
            after = await self._store.find_certificate(connection, certificate_id)
            return (after or before).shown()

        return await self._database.transaction(work)
