"""What Payment answers when it does not do what was asked; error_reason.proto lists the same with their metadata."""

from services.shared.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound


class InsufficientFunds(FailedPrecondition):
    """The wallet has less available than this needs."""


class WalletFrozen(FailedPrecondition):
    """The wallet is frozen; an administrator can open it again."""


class CurrencyMismatch(InvalidArgument):
    """The amount is in another currency than what it is taken from."""


class AmountOverflow(InvalidArgument):
    """The amount would make a balance larger than can be counted."""


class PaymentNotFound(NotFound):
    """There is no such payment."""


class RefundWindowClosed(FailedPrecondition):
    """The time in which a refund can be asked for is over."""


class RefundExceedsPayment(FailedPrecondition):
    """All refunds together would be more than the payment."""


class HoldNotFound(NotFound):
    """There is no such hold."""


class HoldNotActive(FailedPrecondition):
    """The hold was captured or released before."""


class HoldExpired(FailedPrecondition):
    """The hold's time ran out."""


class CaptureExceedsHold(FailedPrecondition):
    """More was to be captured than is held."""


class ReferenceUsed(AlreadyExists):
    """The reference has earned something else before."""
