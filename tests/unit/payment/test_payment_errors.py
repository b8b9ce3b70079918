"""Every error of Payment stands in its contract, and every reason there has an error."""

from __future__ import annotations

import inspect

from azora.payment.v1 import error_reason_pb2

from services.payment import errors
from services.shared.errors import DomainError


def test_the_contract_lists_exactly_these_reasons() -> None:
    raised = {
        f"ERROR_REASON_{kind.reason}"
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, DomainError) and kind.__module__ == errors.__name__
    }
    assert raised == set(error_reason_pb2.ErrorReason.keys()) - {"ERROR_REASON_UNSPECIFIED"}
