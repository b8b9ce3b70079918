"""Conversion between wallets and messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.payment.v1 import events_pb2, internal_service_pb2, wallet_pb2, wallet_service_pb2

from services.payment.ledger.model import AccountState
from services.payment.wallets.model import UserRegistered
from services.shared.convert import money, timestamp, to_time
from services.shared.money import Money

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from azora.auth.v1 import events_pb2 as auth_events_pb2

    from services.payment.wallets.model import Balance, StateChange, Wallet, WalletStateChanged


def wallet_state(state: AccountState) -> wallet_pb2.WalletState.ValueType:
    """Return the contract's value of a state."""
    return wallet_pb2.WalletState.Value(f"WALLET_STATE_{state}")


def wallet(read: Wallet, *, with_changes: bool) -> wallet_pb2.Wallet:
    """Return a wallet's message, for administrators `with_changes` of its state."""
    status = read.status
    message = wallet_pb2.Wallet(
        id=status.id if status else "",
        state=wallet_state(status.state if status else AccountState.ACTIVE),
        balances=[balance(of_currency) for of_currency in read.balances],
        create_time=timestamp(status.create_time if status else None),
        etag=read.etag,
        user_id=status.user_id if status else "",
    )
    if with_changes and status and status.last_change:
        message.last_state_change.CopyFrom(state_change(status.last_change))
    return message


def balance(of_currency: Balance) -> wallet_pb2.Balance:
    """Return the message of a balance."""
    return wallet_pb2.Balance(
        currency=of_currency.currency,
        posted=of_currency.posted_minor,
        held=of_currency.held_minor,
        available=of_currency.available_minor,
        etag=of_currency.etag,
    )


def state_change(change: StateChange) -> wallet_pb2.WalletStateChange:
    """Return the message of a change of state."""
    return wallet_pb2.WalletStateChange(
        state=wallet_state(change.state),
        actor_id=change.actor_id,
        reason=change.reason,
        change_time=timestamp(change.change_time),
    )


def read_time(request: wallet_service_pb2.GetWalletRequest) -> datetime | None:
    """Return the time as of which a wallet is read; None for now."""
    return to_time(request.read_time, field="readTime") if request.HasField("read_time") else None


def get_wallet_response(read: Wallet, *, with_changes: bool) -> wallet_service_pb2.GetWalletResponse:
    """Return the answer with a wallet."""
    return wallet_service_pb2.GetWalletResponse(wallet=wallet(read, with_changes=with_changes))


def freeze_wallet_response(frozen: Wallet) -> wallet_service_pb2.FreezeWalletResponse:
    """Return the answer of FreezeWallet."""
    return wallet_service_pb2.FreezeWalletResponse(wallet=wallet(frozen, with_changes=True))


def unfreeze_wallet_response(active: Wallet) -> wallet_service_pb2.UnfreezeWalletResponse:
    """Return the answer of UnfreezeWallet."""
    return wallet_service_pb2.UnfreezeWalletResponse(wallet=wallet(active, with_changes=True))


def close_wallet_response(closed: Wallet) -> wallet_service_pb2.CloseWalletResponse:
    """Return the answer of CloseWallet."""
    return wallet_service_pb2.CloseWalletResponse(wallet=wallet(closed, with_changes=True))


def list_balances_response(balances: Iterable[Balance]) -> internal_service_pb2.ListBalancesResponse:
    """Return the answer of ListBalances."""
    return internal_service_pb2.ListBalancesResponse(
        balances=[money(Money(balance.posted_minor, balance.currency)) for balance in balances]
    )


def wallet_state_changed(event: WalletStateChanged) -> events_pb2.WalletStateChanged:
    """Return the event's message."""
    return events_pb2.WalletStateChanged(
        wallet_id=event.wallet_id,
        user_id=event.user_id,
        state=wallet_state(event.state),
        change_time=timestamp(event.change_time),
    )


def user_registered(event: auth_events_pb2.UserRegistered) -> UserRegistered:
    """Return Auth's event."""
    return UserRegistered(event.user_id)
