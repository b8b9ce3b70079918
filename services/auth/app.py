"""Auth's composition root: everything is made here, once, and given to what needs it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from services.auth.accounts import convert
from services.auth.accounts.model import EmailVerified, UserRegistered, UserRenamed
from services.auth.accounts.operations import AccountOperations
from services.auth.accounts.store import AccountStore
from services.auth.api_keys.model import KEPT_EXPIRED
from services.auth.api_keys.operations import ApiKeyOperations
from services.auth.api_keys.servicer import ApiKeyServicer
from services.auth.api_keys.store import ApiKeyStore
from services.auth.clients import SmtpTransport
from services.auth.confirmations.operations import ConfirmationOperations
from services.auth.devices.operations import DeviceOperations
from services.auth.devices.servicer import DeviceServicer
from services.auth.devices.store import DeviceStore
from services.auth.email_addresses import jobs as email_addresses_jobs
from services.auth.email_addresses.operations import EmailAddressOperations
from services.auth.errors import CredentialsInvalid, EmailTaken
from services.auth.factors.operations import ChallengeOperations, FactorOperations
from services.auth.factors.store import ChallengeStore, FactorStore
from services.auth.failures.operations import FailureOperations
from services.auth.failures.store import FailureStore
from services.auth.introspection.operations import IntrospectionOperations
from services.auth.introspection.servicer import TokenServicer
from services.auth.links.operations import LinkOperations
from services.auth.links.store import LinkStore
from services.auth.mail import jobs as mail_jobs
from services.auth.mail.model import NOTICE_LIFETIME
from services.auth.mail.operations import MailOperations, Templates
from services.auth.mail.servicer import MailServicer
from services.auth.mail.store import MailStore
from services.auth.mfa.operations import MfaOperations
from services.auth.mfa.servicer import MfaServicer
from services.auth.password_changes import jobs as password_changes_jobs
from services.auth.password_changes.operations import PasswordChangeOperations
from services.auth.passwords.operations import PasswordOperations
from services.auth.registrations import jobs as registrations_jobs
from services.auth.registrations.operations import RegistrationOperations
from services.auth.registrations.store import RegistrationStore
from services.auth.revocations.internal_servicer import InternalServicer
from services.auth.revocations.operations import RevocationOperations
from services.auth.revocations.store import RevocationStore
from services.auth.sessions.operations import SessionOperations
from services.auth.sessions.servicer import SessionServicer
from services.auth.sessions.store import SessionStore
from services.auth.sign_in.operations import SignInOperations
from services.auth.sign_in.servicer import AuthServicer
from services.auth.signing import access_tokens, signing_keys, token_operations
from services.auth.signing_keys import jobs
from services.shared.assembly import Infrastructure
from services.shared.encryption import Encryption
from services.shared.outbox import Outbox
from services.shared.retention import Retention
from services.shared.scopes import declared_scopes
from services.shared.tokens import TOKEN_LIFE, RemoteKeys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from google.protobuf.message import Message

    from services.auth.settings import AuthSettings
    from services.auth.signing_keys.operations import SigningKeyOperations
    from services.auth.tokens.operations import TokenOperations
    from services.shared.outbox import Send
    from services.shared.server import Server

logger = logging.getLogger(__name__)

EVENTS: Mapping[type, Callable[[Any], Message]] = {
    UserRegistered: convert.user_registered,
    UserRenamed: convert.user_renamed,
    EmailVerified: convert.email_verified,
}


@dataclass(frozen=True, slots=True)
class Container:
    """Auth's operations over their infrastructure."""

    infrastructure: Infrastructure[AuthSettings]
    passwords: PasswordOperations
    keys: SigningKeyOperations
    tokens: TokenOperations
    accounts: AccountOperations
    revocations: RevocationOperations
    sessions: SessionOperations
    sign_in: SignInOperations
    devices: DeviceOperations
    mfa: MfaOperations
    mail: MailOperations
    registrations: RegistrationOperations
    password_changes: PasswordChangeOperations
    email_addresses: EmailAddressOperations
    api_keys: ApiKeyOperations
    introspection: IntrospectionOperations
    outbox: Outbox

    async def ready(self) -> bool:
        """Whether the database answers and there is a key to sign with."""
        return await self.infrastructure.database.ready() and await self.tokens.ready()

    async def close(self) -> None:
        """Let go of threads and connections."""
        await self.passwords.close()
        await self.infrastructure.close()


def assemble(settings: AuthSettings) -> Container:
    """Return the operations."""
    # A session's foreign key: the account was deleted between the check of its password and the beginning of it.
    infrastructure = Infrastructure.of(
        settings, constraints={"sessions_user_id_fkey": CredentialsInvalid, "users_email_folded_key": EmailTaken}
    )
    database = infrastructure.database
    passwords = PasswordOperations(settings.bcrypt_cost)
    failures = _failures(infrastructure)
    factors = _factors(settings)
    devices = DeviceOperations(database=database, store=DeviceStore(), pages=infrastructure.pages)
    outbox = Outbox("auth", EVENTS)
    accounts = AccountOperations(database=database, store=AccountStore(), passwords=passwords, outbox=outbox)
    revocations = RevocationOperations(database=database, store=RevocationStore(), pages=infrastructure.pages)
    keys = signing_keys(infrastructure, revocations)
    tokens = token_operations(settings, keys)
    mail = _mail(infrastructure)
    links = _links(settings, mail)
    registrations = _registrations(infrastructure, accounts, links, mail)
    sessions = _sessions(infrastructure, revocations)
    sign_in = SignInOperations(
        database=database,
        store=AccountStore(),
        accounts=accounts,
        passwords=passwords,
        sessions=sessions,
        revocations=revocations,
        tokens=tokens,
        failures=failures,
        devices=devices,
        factors=factors,
        challenges=ChallengeOperations(store=ChallengeStore()),
        links=links,
        registrations=registrations if settings.pending_registrations else None,
    )
    confirmations = ConfirmationOperations(
        database=database, accounts=AccountStore(), passwords=passwords, failures=failures, factors=factors
    )
    password_changes = PasswordChangeOperations(
        database=database,
        store=AccountStore(),
        accounts=accounts,
        passwords=passwords,
        confirmations=confirmations,
        revocations=revocations,
        devices=devices,
        failures=failures,
        links=links,
        mail=mail,
    )
    email_addresses = _email_addresses(
        infrastructure,
        accounts=accounts,
        registrations=registrations,
        confirmations=confirmations,
        revocations=revocations,
        links=links,
        mail=mail,
    )
    mfa = _mfa(infrastructure, factors, confirmations, failures, revocations, mail=mail)
    api_keys = _api_keys(infrastructure, confirmations, revocations, tokens, mail)
    introspection = _introspection(infrastructure, tokens, revocations, sessions, api_keys)
    credentials = (passwords, keys, tokens, accounts, revocations, sessions, sign_in, devices, mfa, mail)
    flows = (registrations, password_changes, email_addresses, api_keys, introspection)
    return Container(infrastructure, *credentials, *flows, outbox)


def _api_keys(
    infrastructure: Infrastructure[AuthSettings],
    confirmations: ConfirmationOperations,
    revocations: RevocationOperations,
    tokens: TokenOperations,
    mail: MailOperations,
) -> ApiKeyOperations:
    return ApiKeyOperations(
        database=infrastructure.database,
        store=ApiKeyStore(),
        pages=infrastructure.pages,
        confirmations=confirmations,
        revocations=revocations,
        tokens=tokens,
        mail=mail,
        scopes=declared_scopes(),
    )


def _introspection(
    infrastructure: Infrastructure[AuthSettings],
    tokens: TokenOperations,
    revocations: RevocationOperations,
    sessions: SessionOperations,
    api_keys: ApiKeyOperations,
) -> IntrospectionOperations:
    return IntrospectionOperations(
        database=infrastructure.database,
        verifier=access_tokens(infrastructure.settings, tokens),
        revocations=revocations,
        sessions=sessions,
        api_keys=api_keys,
    )


def _failures(infrastructure: Infrastructure[AuthSettings]) -> FailureOperations:
    settings = infrastructure.settings
    return FailureOperations(
        database=infrastructure.database,
        store=FailureStore(),
        key=settings.derive_key("failed-attempts"),
        limits=settings.failure_limits(),
    )


def _factors(settings: AuthSettings) -> FactorOperations:
    return FactorOperations(
        store=FactorStore(),
        encryption=Encryption(settings.derive_keys("totp-secrets")),
        recovery_keys=settings.derive_keys("recovery-codes"),
    )


def _sessions(infrastructure: Infrastructure[AuthSettings], revocations: RevocationOperations) -> SessionOperations:
    settings = infrastructure.settings
    return SessionOperations(
        database=infrastructure.database,
        store=SessionStore(),
        pages=infrastructure.pages,
        revocations=revocations,
        encryption=Encryption(settings.derive_keys("refresh-token-families")),
        idle=timedelta(days=settings.session_idle_days),
        lifetime=timedelta(days=settings.session_days),
    )


def _registrations(
    infrastructure: Infrastructure[AuthSettings],
    accounts: AccountOperations,
    links: LinkOperations,
    mail: MailOperations,
) -> RegistrationOperations:
    return RegistrationOperations(
        database=infrastructure.database,
        store=RegistrationStore(),
        accounts=accounts,
        links=links,
        mail=mail,
        lifetime=timedelta(minutes=infrastructure.settings.mail_link_minutes),
    )


def _mfa(
    infrastructure: Infrastructure[AuthSettings],
    factors: FactorOperations,
    confirmations: ConfirmationOperations,
    failures: FailureOperations,
    revocations: RevocationOperations,
    *,
    mail: MailOperations,
) -> MfaOperations:
    return MfaOperations(
        database=infrastructure.database,
        accounts=AccountStore(),
        factors=factors,
        confirmations=confirmations,
        failures=failures,
        revocations=revocations,
        mail=mail,
    )


def _email_addresses(
    infrastructure: Infrastructure[AuthSettings],
    *,
    accounts: AccountOperations,
    registrations: RegistrationOperations,
    confirmations: ConfirmationOperations,
    revocations: RevocationOperations,
    links: LinkOperations,
    mail: MailOperations,
) -> EmailAddressOperations:
    return EmailAddressOperations(
        database=infrastructure.database,
        store=AccountStore(),
        accounts=accounts,
        registrations=registrations,
        confirmations=confirmations,
        revocations=revocations,
        links=links,
        mail=mail,
        undo_lifetime=timedelta(hours=infrastructure.settings.email_undo_hours),
    )


def _links(settings: AuthSettings, mail: MailOperations) -> LinkOperations:
    return LinkOperations(
        store=LinkStore(),
        mail=mail,
        pages_url=settings.pages_url,
        lifetime=timedelta(minutes=settings.mail_link_minutes),
        undo_lifetime=timedelta(hours=settings.email_undo_hours),
    )


def _mail(infrastructure: Infrastructure[AuthSettings]) -> MailOperations:
    settings = infrastructure.settings
    smtp_url = settings.smtp_url.get_secret_value() if settings.smtp_url else ""
    if settings.production and not smtp_url:
        logger.error("mails are not sent: AZORA_SMTP_URL is not set")
    return MailOperations(
        database=infrastructure.database,
        store=MailStore(),
        pages=infrastructure.pages,
        encryption=Encryption(settings.derive_keys("mails")),
        digest_key=settings.derive_key("mail-addresses"),
        transport=SmtpTransport(smtp_url) if smtp_url else None,
        templates=Templates({"web_url": settings.pages_url, "minutes": settings.mail_link_minutes}),
        sender=settings.mail_from,
        link_lifetime=timedelta(minutes=settings.mail_link_minutes),
        keep=not settings.production,
        limit_scale=settings.rate_limit_scale,
    )


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


def build(settings: AuthSettings, *, send: Send | None = None) -> Server:
    """Return Auth's server. It verifies access tokens by the same keys that it publishes. Tests take the events."""
    container = assemble(settings)
    return container.infrastructure.server(
        AuthServicer(container.sign_in, container.accounts, container.password_changes, container.email_addresses),
        TokenServicer(container.introspection, container.tokens),
        SessionServicer(container.sessions),
        DeviceServicer(container.devices),
        ApiKeyServicer(container.api_keys),
        MfaServicer(container.mfa, container.sign_in),
        InternalServicer(container.revocations),
        *([] if settings.production else [MailServicer(container.mail)]),
        jobs=[
            *mail_jobs.jobs(container.mail),
            *registrations_jobs.jobs(container.registrations),
            *password_changes_jobs.jobs(container.password_changes),
            *email_addresses_jobs.jobs(container.email_addresses),
        ],
        periodic=jobs.periodic(container.keys),
        retentions=retentions(settings),
        outbox=container.outbox,
        send=send,
        keys=RemoteKeys(container.tokens.verification_keys, cache_seconds=settings.jwks_cache_seconds),
        revocations=container.revocations,
        ready=container.ready,
        close=[container.passwords.close],
    )
