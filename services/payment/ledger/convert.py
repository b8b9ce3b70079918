"""Conversion between the ledger's totals, the conditions of debits, and their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.payment.v1 import ledger_service_pb2 as pb

from services.payment.ledger.debits import Conditions
from services.shared.convert import to_money

if TYPE_CHECKING:
    from collections.abc import Sequence

    from azora.payment.v1 import payment_service_pb2

    from services.payment.ledger.model import CurrencyTotal


def conditions(
    request: payment_service_pb2.CreatePaymentRequest
    | payment_service_pb2.CreateTransferRequest
    | payment_service_pb2.BatchCreateTransfersRequest
    | payment_service_pb2.CreateHoldRequest,
) -> Conditions:
    """Return what a debit is made to depend on."""
    minimum = to_money(request.minimum_available_after) if request.HasField("minimum_available_after") else None
    return Conditions(minimum, request.etag)


def trial_balance_response(totals: Sequence[CurrencyTotal]) -> pb.TrialBalanceResponse:
    """Return the trial balance."""
    return pb.TrialBalanceResponse(
        currencies=[
            pb.CurrencyTotal(
                currency=total.currency, debit=total.debit_minor, credit=total.credit_minor, total=total.total_minor
            )
            for total in totals
        ],
        balanced=all(total.balanced for total in totals),
    )
