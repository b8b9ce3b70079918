"""The currencies there are."""

from __future__ import annotations

import pytest

from services.shared.money import EXPONENTS


@pytest.mark.parametrize(
    ("code", "exponent"), [("AZR", 2), ("ZAR", 2), ("USD", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4), ("UGX", 0)]
)
def test_currencies_have_their_decimal_places(code: str, exponent: int) -> None:
    assert EXPONENTS[code] == exponent


@pytest.mark.parametrize("code", ["XAU", "XXX", "XTS", "BTC", "DEM", "", "azr"])
def test_what_is_no_currency(code: str) -> None:
    assert code not in EXPONENTS


def test_every_code_is_three_capitals() -> None:
    assert all(len(code) == 3 and code.isascii() and code.isupper() for code in EXPONENTS)
