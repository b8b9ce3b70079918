"""Auth's operations, made once and given to what needs them: for its server, and for commands."""

from __future__ import annotations

import logging
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from services.auth.accounts import convert
from services.auth.accounts.model import EmailVerified, UserRegistered, UserRenamed
from services.auth.accounts.operations import AccountOperations
from services.auth.accounts.store import AccountStore
from services.auth.api_keys.operations import ApiKeyOperations
from services.auth.api_keys.store import ApiKeyStore
from services.auth.clients import SmtpTransport
from services.auth.confirmations.operations import ConfirmationOperations
from services.auth.devices.operations import DeviceOperations
from services.auth.devices.store import DeviceStore
from services.auth.email_addresses.operations import EmailAddressOperations
from services.auth.erasures.store import ErasureStore
from services.auth.errors import CredentialsInvalid, EmailTaken
from services.auth.factors.operations import ChallengeOperations, FactorOperations
from services.auth.factors.store import ChallengeStore, FactorStore
from services.auth.failures.operations import FailureOperations
from services.auth.failures.store import FailureStore
from services.auth.introspection.operations import IntrospectionOperations
from services.auth.links.operations import LinkOperations
from services.auth.links.store import LinkStore
from services.auth.mail.operations import MailOperations, Templates
from services.auth.mail.store import MailStore
from services.auth.mfa.operations import MfaOperations
from services.auth.password_changes.operations import PasswordChangeOperations
from services.auth.passwords.operations import PasswordOperations
from services.auth.registrations.operations import RegistrationOperations
from services.auth.registrations.store import RegistrationStore
from services.auth.revocations.operations import RevocationOperations
from services.auth.revocations.store import RevocationStore
from services.auth.sessions.operations import SessionOperations
from services.auth.sessions.store import SessionStore
from services.auth.sign_in.operations import SignInOperations
from services.auth.signing_keys.model import KeyTimes
from services.auth.signing_keys.operations import PUBLISHED_SECONDS, SigningKeyOperations
from services.auth.signing_keys.store import SigningKeyStore
from services.auth.tokens.operations import TokenOperations
from services.auth.users.operations import UserOperations
from services.auth.users.store import UserStore
from services.shared.assembly import Infrastructure
from services.shared.encryption import Encryption
from services.shared.outbox import Outbox
from services.shared.policy import role_permissions
from services.shared.scopes import declared_scopes
from services.shared.tokens import LEEWAY_SECONDS, AccessTokens, RemoteKeys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from google.protobuf.message import Message

    from services.auth.settings import AuthSettings

logger = logging.getLogger(__name__)

FETCH_SECONDS = 2.0
"""Time by which a fetch of keys may make a cache older than its limit: Envoy's takes two seconds at most."""

EVENTS: Mapping[type, Callable[[Any], Message]] = {
    UserRegistered: convert.user_registered,
    UserRenamed: convert.user_renamed,
    EmailVerified: convert.email_verified,
}


class Container:
    """Auth's operations over their infrastructure. Each is made when it is first asked for."""

    def __init__(self, settings: AuthSettings) -> None:
        self.settings = settings
        # A session's foreign key: the account was deleted between the check of its password and its beginning.
        self.infrastructure = Infrastructure.of(
            settings, constraints={"sessions_user_id_fkey": CredentialsInvalid, "users_email_folded_key": EmailTaken}
        )
        self.database = self.infrastructure.database
        self.pages = self.infrastructure.pages
        self.outbox = Outbox("auth", EVENTS)

    async def ready(self) -> bool:
        """Whether the database answers and there is a key to sign with."""
        return await self.database.ready() and await self.tokens.ready()

    async def close(self) -> None:
        """Let go of threads and connections."""
        await self.passwords.close()
        await self.infrastructure.close()

    @cached_property
    def passwords(self) -> PasswordOperations:
        """Hashes of passwords."""
        return PasswordOperations(self.settings.bcrypt_cost)

    @cached_property
    def accounts(self) -> AccountOperations:
        """Accounts and profiles."""
        return AccountOperations(
            database=self.database, store=AccountStore(), passwords=self.passwords, outbox=self.outbox
        )

    @cached_property
    def revocations(self) -> RevocationOperations:
        """Revocations of access tokens."""
        return RevocationOperations(database=self.database, store=RevocationStore(), pages=self.pages)

    @cached_property
    def keys(self) -> SigningKeyOperations:
        """The keys that sign access tokens."""
        settings = self.settings
        return SigningKeyOperations(
            database=self.database,
            store=SigningKeyStore(),
            encryption=Encryption(settings.derive_keys("signing-keys")),
            revocations=self.revocations,
            times=KeyTimes(
                rotation_seconds=timedelta(days=settings.signing_key_days).total_seconds(),
                publication_seconds=settings.jwks_cache_seconds + FETCH_SECONDS + PUBLISHED_SECONDS,
                retirement_seconds=settings.access_token_seconds + settings.signing_key_cache_seconds + LEEWAY_SECONDS,
            ),
            signer_cache_seconds=settings.signing_key_cache_seconds,
        )

    @cached_property
    def tokens(self) -> TokenOperations:
        """Access tokens."""
        return TokenOperations(
            keys=self.keys,
            public_url=self.settings.public_url,
            audience=self.settings.audience,
            lifetime_seconds=self.settings.access_token_seconds,
            scopes=declared_scopes(),
        )

    @cached_property
    def verification_keys(self) -> RemoteKeys:
        """The public keys that verify access tokens, as they are published."""
        return RemoteKeys(self.tokens.verification_keys, cache_seconds=self.settings.jwks_cache_seconds)

    @cached_property
    def mail(self) -> MailOperations:
        """Mails to users."""
        settings = self.settings
        smtp_url = settings.smtp_url.get_secret_value() if settings.smtp_url else ""
        if settings.production and not smtp_url:
            logger.error("mails are not sent: AZORA_SMTP_URL is not set")
        return MailOperations(
            database=self.database,
            store=MailStore(),
            pages=self.pages,
            encryption=Encryption(settings.derive_keys("mails")),
            digest_key=settings.derive_key("mail-addresses"),
            transport=SmtpTransport(smtp_url) if smtp_url else None,
            templates=Templates({"web_url": settings.pages_url, "minutes": settings.mail_link_minutes}),
            sender=settings.mail_from,
            link_lifetime=timedelta(minutes=settings.mail_link_minutes),
            keep=not settings.production,
            limit_scale=settings.rate_limit_scale,
        )

    @cached_property
    def links(self) -> LinkOperations:
        """Mailed links."""
        return LinkOperations(
            store=LinkStore(),
            mail=self.mail,
            pages_url=self.settings.pages_url,
            lifetime=timedelta(minutes=self.settings.mail_link_minutes),
            undo_lifetime=timedelta(hours=self.settings.email_undo_hours),
        )

    @cached_property
    def failures(self) -> FailureOperations:
        """Failed attempts and the waits that follow from them."""
        return FailureOperations(
            database=self.database,
            store=FailureStore(),
            key=self.settings.derive_key("failed-attempts"),
            limits=self.settings.failure_limits(),
        )

    @cached_property
    def factors(self) -> FactorOperations:
        """Second factors."""
        return FactorOperations(
            store=FactorStore(),
            encryption=Encryption(self.settings.derive_keys("totp-secrets")),
            recovery_keys=self.settings.derive_keys("recovery-codes"),
        )

    @cached_property
    def devices(self) -> DeviceOperations:
        """Known devices."""
        return DeviceOperations(database=self.database, store=DeviceStore(), pages=self.pages)

    @cached_property
    def sessions(self) -> SessionOperations:
        """Sessions."""
        return SessionOperations(
            database=self.database,
            store=SessionStore(),
            pages=self.pages,
            revocations=self.revocations,
            encryption=Encryption(self.settings.derive_keys("refresh-token-families")),
            idle=timedelta(days=self.settings.session_idle_days),
            lifetime=timedelta(days=self.settings.session_days),
        )

    @cached_property
    def registrations(self) -> RegistrationOperations:
        """Registrations whose address is to be confirmed."""
        return RegistrationOperations(
            database=self.database,
            store=RegistrationStore(),
            accounts=self.accounts,
            links=self.links,
            mail=self.mail,
            lifetime=timedelta(minutes=self.settings.mail_link_minutes),
        )

    @cached_property
    def sign_in(self) -> SignInOperations:
        """Signing in and out."""
        return SignInOperations(
            database=self.database,
            store=AccountStore(),
            accounts=self.accounts,
            passwords=self.passwords,
            sessions=self.sessions,
            revocations=self.revocations,
            tokens=self.tokens,
            failures=self.failures,
            devices=self.devices,
            factors=self.factors,
            challenges=ChallengeOperations(store=ChallengeStore()),
            links=self.links,
            registrations=self.registrations if self.settings.pending_registrations else None,
        )

    @cached_property
    def confirmations(self) -> ConfirmationOperations:
        """Confirmations by password and code."""
        return ConfirmationOperations(
            database=self.database,
            accounts=AccountStore(),
            sessions=self.sessions,
            passwords=self.passwords,
            failures=self.failures,
            factors=self.factors,
        )

    @cached_property
    def password_changes(self) -> PasswordChangeOperations:
        """Changes and resets of passwords."""
        return PasswordChangeOperations(
            database=self.database,
            store=AccountStore(),
            accounts=self.accounts,
            passwords=self.passwords,
            confirmations=self.confirmations,
            revocations=self.revocations,
            devices=self.devices,
            failures=self.failures,
            links=self.links,
            mail=self.mail,
        )

    @cached_property
    def email_addresses(self) -> EmailAddressOperations:
        """Verification and changes of e-mail addresses."""
        return EmailAddressOperations(
            database=self.database,
            store=AccountStore(),
            accounts=self.accounts,
            registrations=self.registrations,
            sessions=self.sessions,
            confirmations=self.confirmations,
            revocations=self.revocations,
            links=self.links,
            mail=self.mail,
            undo_lifetime=timedelta(hours=self.settings.email_undo_hours),
        )

    @cached_property
    def mfa(self) -> MfaOperations:
        """Enrolment of second factors."""
        return MfaOperations(
            database=self.database,
            accounts=AccountStore(),
            sessions=self.sessions,
            factors=self.factors,
            confirmations=self.confirmations,
            failures=self.failures,
            revocations=self.revocations,
            mail=self.mail,
        )

    @cached_property
    def api_keys(self) -> ApiKeyOperations:
        """API keys."""
        return ApiKeyOperations(
            database=self.database,
            store=ApiKeyStore(),
            pages=self.pages,
            confirmations=self.confirmations,
            revocations=self.revocations,
            tokens=self.tokens,
            mail=self.mail,
            scopes=declared_scopes(),
        )

    @cached_property
    def introspection(self) -> IntrospectionOperations:
        """Introspection and revocation of tokens."""
        return IntrospectionOperations(
            database=self.database,
            verifier=AccessTokens(
                self.verification_keys,
                issuer=self.settings.public_url,
                audience=self.settings.audience,
                permissions=role_permissions(),
            ),
            revocations=self.revocations,
            sessions=self.sessions,
            api_keys=self.api_keys,
        )

    @cached_property
    def users(self) -> UserOperations:
        """Administration of users."""
        return UserOperations(
            database=self.database,
            store=UserStore(),
            erasures=ErasureStore(),
            account_store=AccountStore(),
            accounts=self.accounts,
            devices=self.devices,
            failures=self.failures,
            links=self.links,
            mail=self.mail,
            pages=self.pages,
            revocations=self.revocations,
            permissions=role_permissions(),
        )
