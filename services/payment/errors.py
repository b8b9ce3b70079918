"""Errors of Payment. Each class's reason is documented in azora/payment/v1/error_reason.proto."""

from __future__ import annotations

from services.shared.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
)


class InsufficientFunds(FailedPrecondition):
    """Insufficient available balance."""

    def __init__(self, *, currency: str) -> None:
        super().__init__(metadata={"currency": currency})


class WalletFrozen(FailedPrecondition):
    """The wallet is frozen."""


class WalletClosed(FailedPrecondition):
    """The wallet is closed."""


class WalletNotFound(NotFound):
    """Wallet not found."""


class WalletNotEmpty(FailedPrecondition):
    """The wallet has a balance; only an empty wallet can be closed."""

    def __init__(self, *, currency: str) -> None:
        super().__init__(metadata={"currency": currency})


class WalletRefundPending(FailedPrecondition):
    """A refund to the wallet is pending."""

    stored = False  # Its decision is near, and then the same call has another answer.

    def __init__(self, *, refund_id: str) -> None:
        super().__init__(metadata={"refundId": refund_id})


class ReadTimeTooRecent(InvalidArgument):
    """The read time must be at least 5 seconds in the past."""


class CurrencyMismatch(InvalidArgument):
    """The currency does not match."""

    def __init__(self, *, currency: str) -> None:
        super().__init__(metadata={"currency": currency})


class AmountOverflow(InvalidArgument):
    """The resulting balance exceeds the supported range."""


class EtagMismatch(Aborted):
    """The balance or wallet has changed; read it again and retry."""


class MinimumAvailableNotMet(FailedPrecondition):
    """The available balance would fall below the requested minimum."""

    def __init__(self, *, currency: str) -> None:
        super().__init__(metadata={"currency": currency})


class VelocityExceeded(ResourceExhausted):
    """The debits of the wallet exceed a velocity limit."""

    def __init__(
        self, *, currency: str, max_debit_minor: int, max_debits: int, retry_after_seconds: float | None
    ) -> None:
        limits = {"maxDebitMinorUnits": str(max_debit_minor), "maxDebits": str(max_debits)}
        super().__init__(metadata={"currency": currency} | limits, retry_after_seconds=retry_after_seconds)


class TransferNotFound(NotFound):
    """Transfer not found."""


class TargetWalletNotFound(NotFound):
    """Target wallet not found."""


class SelfTransfer(InvalidArgument):
    """The target of a transfer must be another user's wallet."""


class EmailNotVerified(FailedPrecondition):
    """Transfers require a verified e-mail address; verify it, then refresh the access token."""


class PaymentNotFound(NotFound):
    """Payment not found."""


class RefundNotFound(NotFound):
    """Refund not found."""


class RefundWindowClosed(FailedPrecondition):
    """The refund window has closed."""


class RefundExceedsPayment(FailedPrecondition):
    """The refund exceeds the refundable amount."""

    def __init__(self, *, refundable_minor: int) -> None:
        super().__init__(metadata={"refundableMinorUnits": str(refundable_minor)})


class RefundPending(FailedPrecondition):
    """Another refund of the payment is pending."""

    stored = False  # Its decision is near, and then the same call has another answer.

    def __init__(self, *, refund_id: str) -> None:
        super().__init__(metadata={"refundId": refund_id})


class PartialRefundNotAllowed(FailedPrecondition):
    """The payment bought a course; refund its full refundable amount."""

    def __init__(self, *, refundable_minor: int) -> None:
        super().__init__(metadata={"refundableMinorUnits": str(refundable_minor)})


class CourseCompleted(FailedPrecondition):
    """The course is completed; its payment can no longer be refunded."""

    def __init__(self, *, refund_id: str) -> None:
        super().__init__(metadata={"refundId": refund_id})


class ProgressLimitExceeded(FailedPrecondition):
    """The progress in the course exceeds the limit for refunds."""

    def __init__(self, *, refund_id: str) -> None:
        super().__init__(metadata={"refundId": refund_id})


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


class LedgerInconsistent(FailedPrecondition):
    """The ledger does not match its last checkpoint."""


class WebhookNotFound(NotFound):
    """Webhook not found."""


class WebhookUrlInvalid(InvalidArgument):
    """The webhook's URL must be an https URL of a public host."""


class WebhookEventTypeUnknown(InvalidArgument):
    """Unknown event type: use one of GET /v1/webhookEventTypes."""

    def __init__(self, *, event_type: str) -> None:
        super().__init__(metadata={"eventType": event_type})


class WebhookLimitReached(FailedPrecondition):
    """The maximum number of webhooks is reached; delete one first."""

    def __init__(self, *, max_webhooks: int) -> None:
        super().__init__(metadata={"maxWebhooks": str(max_webhooks)})


class WebhookDisabled(FailedPrecondition):
    """The webhook is disabled; enable it first."""


class WebhookDeliveryNotFound(NotFound):
    """Delivery not found."""


class AllUsersNotAllowed(PermissionDenied):
    """Webhooks of all users require PERMISSION_WEBHOOKS_MANAGE."""
