"""Errors of Payment. Each class's reason is documented in azora/payment/v1/error_reason.proto."""

from services.shared.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound


class InsufficientFunds(FailedPrecondition):
    """Insufficient available balance."""


class WalletFrozen(FailedPrecondition):
    """The wallet is frozen."""


class CurrencyMismatch(InvalidArgument):
    """The currency does not match that of the payment or hold."""


class AmountOverflow(InvalidArgument):
    """The resulting balance exceeds the supported range."""


class PaymentNotFound(NotFound):
    """Payment not found."""


class RefundWindowClosed(FailedPrecondition):
    """The refund window has closed."""


class RefundExceedsPayment(FailedPrecondition):
    """The refund exceeds the refundable amount."""


class HoldNotFound(NotFound):
    """Hold not found."""


class HoldNotActive(FailedPrecondition):
    """The hold has already been captured or released."""


class HoldExpired(FailedPrecondition):
    """The hold has expired."""


class CaptureExceedsHold(FailedPrecondition):
    """The capture exceeds the held amount."""


class ReferenceUsed(AlreadyExists):
    """The reference was already used for another user or amount."""
