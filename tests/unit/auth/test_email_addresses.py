"""E-mail addresses as they are kept and compared."""

from __future__ import annotations

import pytest

from services.auth.accounts.model import EmailAddress


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("thandi@example.com", "thandi@example.com"),
        ("  Thandi@EXAMPLE.Com\n", "Thandi@example.com"),
        ("a.b+tag@sub.example.co.za", "a.b+tag@sub.example.co.za"),
        ("o'brien@xn--bcher-kva.example", "o'brien@xn--bcher-kva.example"),
        ("\N{KELVIN SIGN}elvin@example.com", "Kelvin@example.com"),
        ("a" * 64 + "@example.com", "a" * 64 + "@example.com"),
    ],
)
def test_an_address_is_normalised(given: str, kept: str) -> None:
    address = EmailAddress.parse(given)
    assert address is not None
    assert address.text == kept
    assert address.folded == kept.casefold()
    assert f"{address.local_part}@" in kept


@pytest.mark.parametrize(
    "given",
    [
        "",
        "@",
        "thandi",
        "thandi@",
        "@example.com",
        "thandi@localhost",
        "thandi@127.0.0.1",
        "thandi@[127.0.0.1]",
        "thandi@example..com",
        "thandi@-example.com",
        ".thandi@example.com",
        "than..di@example.com",
        "thandi@nkosi@example.com",
        "than di@example.com",
        "thandi@example.com\0",
        "thandi@example.com\nBcc: all@example.com",
        "a" * 65 + "@example.com",
        "thandi@" + "a" * 63 + ("." + "a" * 61) * 3 + ".com",
    ],
)
def test_what_mail_cannot_reach_is_no_address(given: str) -> None:
    assert EmailAddress.parse(given) is None
