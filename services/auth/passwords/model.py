"""Which passwords are too easy to guess (NIST SP 800-63B-4, section 3.1.1.2; OWASP ASVS 6.2). Nothing else is asked."""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

MIN_LOCAL_PART_CHARACTERS = 3
"""Nearly every password contains some letter or two."""
MIN_NAME_PART_CHARACTERS = 6
MAX_PATTERN_CHARACTERS = 4
PRODUCT = "azora"
"""A context-specific word (ASVS 6.2.11), alone and as part of others: azoramesh."""


class Flaw(StrEnum):
    """Why a password is refused."""

    COMMON = "common"
    CONTAINS_EMAIL = "contains_email"
    CONTAINS_NAME = "contains_name"
    CONTAINS_PRODUCT = "contains_product"
    BLANK = "blank"
    REPEATED = "repeated"
    """One pattern of up to four characters, over and over."""


def find_flaw(password: str, *, local_part: str, name: str, common: AbstractSet[str]) -> Flaw | None:
    """Return why the password is too easy to guess, or None. Nothing depends on the case of letters.

    `common` holds well-known passwords in lower case. Who holds the local part of the address also catches the whole.
    """
    folded, folded_local_part = _folded(password), _folded(local_part)
    name_parts = re.split(r"[\W\d_]+", _folded(name))
    flaws = {
        Flaw.COMMON: folded in common,
        Flaw.CONTAINS_EMAIL: len(folded_local_part) >= MIN_LOCAL_PART_CHARACTERS and folded_local_part in folded,
        Flaw.CONTAINS_NAME: any(len(part) >= MIN_NAME_PART_CHARACTERS and part in folded for part in name_parts),
        Flaw.CONTAINS_PRODUCT: PRODUCT in folded,
        Flaw.BLANK: not any(unicodedata.category(character)[0] in "LMNPS" for character in folded),
        Flaw.REPEATED: any(
            folded[length:] == folded[:-length] for length in range(1, min(len(folded), MAX_PATTERN_CHARACTERS + 1))
        ),
    }
    return next((flaw for flaw, found in flaws.items() if found), None)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()
