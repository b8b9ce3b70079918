"""Auth's composition root: everything is made here, once, and given to what needs it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from services.auth.api_keys.model import KEPT_EXPIRED
from services.auth.api_keys.servicer import ApiKeyServicer
from services.auth.audit.operations import AuditOperations
from services.auth.audit.servicer import AuditServicer
from services.auth.clients import audit_sources
from services.auth.container import Container
from services.auth.devices.servicer import DeviceServicer
from services.auth.email_addresses import jobs as email_addresses_jobs
from services.auth.introspection.servicer import TokenServicer
from services.auth.mail import jobs as mail_jobs
from services.auth.mail.model import NOTICE_LIFETIME
from services.auth.mail.servicer import MailServicer
from services.auth.mfa.servicer import MfaServicer
from services.auth.password_changes import jobs as password_changes_jobs
from services.auth.personal_data import OtherServices, PersonalData
from services.auth.registrations import jobs as registrations_jobs
from services.auth.revocations.internal_servicer import InternalServicer
from services.auth.sessions.servicer import SessionServicer
from services.auth.sign_in.servicer import AuthServicer
from services.auth.signing_keys import jobs
from services.auth.users.servicer import UserServicer
from services.shared.retention import Retention
from services.shared.tokens import TOKEN_LIFE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.auth.ports import AuditSource
    from services.auth.settings import AuthSettings
    from services.shared.assembly import Infrastructure
    from services.shared.outbox import Send
    from services.shared.server import Server


def retentions(settings: AuthSettings) -> Sequence[Retention]:
    """Return how long the rows of each table are kept. Refresh tokens go before their sessions, whose end takes all."""
    at_expiry = ("refresh_tokens", "sessions", "pending_registrations", "email_links", "mfa_challenges")
    return [
        *(Retention(table, "expire_time", timedelta()) for table in at_expiry),
        # A little longer than the first answer to a service reaches back.
        Retention("revocations", "create_time", TOKEN_LIFE + timedelta(minutes=5)),
        # The limit of mails counts an hour; a development system shows the last ones.
        Retention("mails", "create_time", 2 * NOTICE_LIFETIME if settings.production else timedelta(days=30)),
        Retention("devices", "last_use_time", timedelta(days=settings.device_idle_days)),
        Retention("api_keys", "expire_time", KEPT_EXPIRED),
        Retention("failed_attempts", "count_time", timedelta(days=1)),
    ]


def _audit(infrastructure: Infrastructure[AuthSettings], others: Mapping[str, AuditSource] | None) -> AuditOperations:
    sources = audit_sources(infrastructure.mesh) if others is None else others
    return AuditOperations(sources={"auth": infrastructure.audit_operations, **sources}, pages=infrastructure.pages)


def build(
    settings: AuthSettings,
    *,
    send: Send | None = None,
    others: OtherServices | None = None,
    audited: Mapping[str, AuditSource] | None = None,
) -> Server:
    """Return Auth's server, which verifies tokens by the keys that it publishes.

    Tests take the events, and give the other services and their audit logs.
    """
    container = Container(settings)
    personal_data = PersonalData.of(container, others)
    return container.infrastructure.server(
        AuthServicer(
            container.sign_in, container.accounts, container.password_changes, container.email_addresses, personal_data
        ),
        TokenServicer(container.introspection, container.tokens),
        SessionServicer(container.sessions),
        DeviceServicer(container.devices),
        ApiKeyServicer(container.api_keys),
        MfaServicer(container.mfa, container.sign_in),
        UserServicer(container.users, personal_data.erasures),
        AuditServicer(_audit(container.infrastructure, audited)),
        InternalServicer(container.revocations, container.infrastructure.background_work),
        *([] if settings.production else [MailServicer(container.mail)]),
        jobs=[
            *mail_jobs.jobs(container.mail),
            *registrations_jobs.jobs(container.registrations),
            *password_changes_jobs.jobs(container.password_changes),
            *email_addresses_jobs.jobs(container.email_addresses),
            *personal_data.jobs,
        ],
        periodic=[*jobs.periodic(container.keys), *personal_data.periodic],
        retentions=retentions(settings),
        outbox=container.outbox,
        send=send,
        keys=container.verification_keys,
        revocations=container.revocations,
        ready=container.ready,
        close=[container.passwords.close],
    )
