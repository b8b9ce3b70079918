"""Background work of wallets: events of other services."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azora.auth.v1 import events_pb2

from services.payment.wallets import convert
from services.shared.inbox import Subscription

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.payment.wallets.operations import WalletOperations


def subscriptions(wallets: WalletOperations) -> Sequence[Subscription[Any, Any]]:
    """Return the handlers of Auth's events."""
    return [Subscription(events_pb2.UserRegistered, convert.user_registered, wallets.user_registered)]
