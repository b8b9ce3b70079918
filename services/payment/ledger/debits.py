"""What a debit by a wallet's owner is subject to: the conditions that its caller sets, and velocity limits.

Checked in the posting, on the account under its lock. Debits that nobody may refuse (captures, refunds) are not
subject to it, nor are those that services decide.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from services.payment.errors import CurrencyMismatch, EtagMismatch, MinimumAvailableNotMet, VelocityExceeded
from services.payment.ledger.model import Velocity
from services.shared.money import EXPONENTS, INT64_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime, timedelta

    from services.payment.ledger.book import Book
    from services.payment.ledger.model import Account, AccountKey
    from services.shared.money import Money

INT32_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the caller of a debit makes it depend on."""

    minimum_available_after: Money | None = None
    etag: str = ""
    """ETag of the balance as the caller read it; empty for any."""


@dataclass(frozen=True, slots=True)
class VelocityLimits:
    """Maximum of the debits by a wallet's owner, per currency and window. A window begins with its first debit."""

    window: timedelta
    max_amount: int
    """Sum of the debits, in whole units of the currency."""
    max_count: int
    """Number of debits."""

    def max_minor(self, currency: str) -> int:
        """Maximum sum of the debits in minor units."""
        return min(self.max_amount * int(10 ** EXPONENTS[currency]), INT64_MAX)

    def counted(self, velocity: Velocity, amount_minor: int, *, currency: str, now: datetime) -> Velocity:
        """Return the velocity after one more debit. Raises VelocityExceeded."""
        if velocity.window_time is None or velocity.window_time + self.window <= now:
            velocity = Velocity(now)
        started = velocity.window_time or now
        left_seconds = (started + self.window - now).total_seconds()
        debit_minor, count = velocity.debit_minor + amount_minor, velocity.count + 1
        max_minor, max_count = self.max_minor(currency), min(self.max_count, INT32_MAX)
        if debit_minor > max_minor or count > max_count:
            raise VelocityExceeded(
                currency=currency,
                max_debit_minor=max_minor,
                max_debits=max_count,
                retry_after_seconds=None if amount_minor > max_minor else left_seconds,
            )
        return Velocity(started, debit_minor, count)


@dataclass(frozen=True, slots=True)
class Terms:
    """All that a debit is subject to."""

    conditions: Conditions = Conditions()
    limits: VelocityLimits | None = None
    """None for a debit that is exempt from velocity limits."""


FREELY = Terms()
"""No terms: the balance alone bounds the debit."""


def check_etag(account: Account, conditions: Conditions) -> None:
    """Check that an account stands as the caller read it. Raises EtagMismatch."""
    if conditions.etag not in ("", account.etag):
        raise EtagMismatch


@contextmanager
def debiting(book: Book, key: AccountKey, terms: Terms) -> Iterator[None]:
    """Hold what is posted or held within against the terms, and count it. Only one debit of the account may be within.

    Raises EtagMismatch before it; MinimumAvailableNotMet, CurrencyMismatch, VelocityExceeded after it.
    """
    before, conditions = book.account(key), terms.conditions
    check_etag(before, conditions)
    yield
    after, minimum = book.account(key), conditions.minimum_available_after
    if minimum is not None and minimum.currency != key.currency:
        raise CurrencyMismatch(currency=key.currency)
    if minimum is not None and after.available_minor < minimum.amount_minor:
        raise MinimumAvailableNotMet(currency=key.currency)
    if terms.limits is not None:
        debited_minor = before.available_minor - after.available_minor
        velocity = terms.limits.counted(after.velocity, debited_minor, currency=key.currency, now=book.now)
        book.update(replace(after, velocity=velocity))
