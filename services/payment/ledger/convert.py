"""Conversion between the ledger's totals and their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.payment.v1 import ledger_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.payment.ledger.model import CurrencyTotal


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
