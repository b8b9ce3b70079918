"""Ports of Auth: what it needs beside its database, and the other services that it calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from email.message import EmailMessage

    from services.shared.audit.model import EventFilter, EventPosition, StoredEvent, Verified
    from services.shared.money import Money


class MailTransport(Protocol):
    """Sends mails."""

    async def send(self, message: EmailMessage) -> bool:
        """Send a mail; return False if it was rejected permanently. Raises DependencyUnavailable."""
        ...


class PersonalDataService(Protocol):
    """A service that keeps data of users. Methods raise DependencyUnavailable when it does not answer."""

    @property
    def name(self) -> str:
        """Name of the service."""
        ...

    async def erase_person(self, *, user_id: str) -> str:
        """Erase a user; return what has to end first, or is left for the next call. Empty: all is erased."""
        ...

    def export_person(self, *, user_id: str) -> AsyncGenerator[bytes]:
        """Yield what it keeps of a user, as the parts of one JSON object."""
        ...


class Balances(Protocol):
    """Payment, as the deletion of an account asks it."""

    async def list_balances(self, *, user_id: str) -> Sequence[Money]:
        """Return a user's balances that are not zero. Raises DependencyUnavailable."""


class AuditSource(Protocol):
    """The audit log of one service."""

    async def list_events(
        self, *, selected: EventFilter, before: EventPosition | None, limit: int
    ) -> Sequence[StoredEvent]:
        """Return the events that are selected, before a position, the newest first. Raises DependencyUnavailable."""
        ...

    async def verify_chain(self, *, page_token: str, after: tuple[int, bytes] = (0, b"")) -> Verified:
        """Verify a part of the log, the first after a seal whose number and hash are known.

        Raises PageTokenInvalid, DependencyUnavailable.
        """
        ...
