"""Exact amounts of money: integers of a currency's minor unit, never a float."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.shared.errors import CurrencyUnknown

if TYPE_CHECKING:
    from collections.abc import Mapping

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
EARNED_TOKEN = "AZR"  # noqa: S105 - a currency

# ISO 4217, list one as of 2026: the active codes by how many decimal places they have; codes that have no minor unit
# (metals, units of account, tests) are no currencies here.
_CODES_BY_EXPONENT = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: """
        AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CNY
        COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS
        INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR
        MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP
        STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG
    """,
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
EXPONENTS: Mapping[str, int] = {EARNED_TOKEN: 2} | {
    code: exponent for exponent, codes in _CODES_BY_EXPONENT.items() for code in codes.split()
}
"""Every currency there is, and how many decimal places its amounts have: AZR 2, JPY 0, KWD 3."""


@dataclass(frozen=True, slots=True)
class Money:
    """`amount_minor` minor units of `currency` (AZR or an ISO 4217 code)."""

    amount_minor: int
    currency: str = EARNED_TOKEN


def check_currency(currency: str) -> None:
    """Raise CurrencyUnknown for what is neither AZR nor of ISO 4217."""
    if currency not in EXPONENTS:
        raise CurrencyUnknown(currency=currency)
