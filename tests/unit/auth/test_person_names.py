"""Names and other texts of a profile, as they are kept."""

from __future__ import annotations

import pytest

from services.auth.accounts.model import PersonName, multiline, single_line

FAMILY = "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{GIRL}"
PERSIAN = "\u0645\u06cc\N{ZERO WIDTH NON-JOINER}\u0631"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("  Thandi Nkosi\n", "Thandi Nkosi"),
        ("Cafe\N{COMBINING ACUTE ACCENT}", "Caf\N{LATIN SMALL LETTER E WITH ACUTE}"),
        (FAMILY, FAMILY),
        (PERSIAN, PERSIAN),
        ("7", "7"),
        ("?", "?"),
    ],
)
def test_a_name_is_normalised(given: str, kept: str) -> None:
    assert PersonName.parse(given) == PersonName(kept)


@pytest.mark.parametrize(
    "given",
    [
        "",
        " ",
        "\N{ZERO WIDTH SPACE}",
        "\N{ZERO WIDTH JOINER}",
        "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH NON-JOINER}",
        "\N{RIGHT-TO-LEFT OVERRIDE}",
        "\N{COMBINING ACUTE ACCENT}",
        "\N{HANGUL FILLER}",
        "\N{BRAILLE PATTERN BLANK}",
        "Thandi\N{RIGHT-TO-LEFT OVERRIDE}isokN",
        "Than\N{ZERO WIDTH SPACE}di",
        "Than\N{SOFT HYPHEN}di",
        "Thandi\N{LEFT-TO-RIGHT ISOLATE}",
        "Thandi\nNkosi",
        "Thandi\rNkosi",
        "Thandi\N{LINE SEPARATOR}Nkosi",
        "Tha\0ndi",
    ],
)
def test_what_cannot_be_seen_or_disguises_is_no_name(given: str) -> None:
    assert PersonName.parse(given) is None


def test_a_line_may_be_empty_and_holds_no_other_line() -> None:
    assert single_line("") == ""
    assert single_line(" Durban ") == "Durban"
    assert [single_line(text) for text in ("Dur\r\nban", "Dur\tban", "Dur\x85ban", "\N{RIGHT-TO-LEFT OVERRIDE}")] == [
        None
    ] * 4


def test_several_lines_may_be_broken_and_hold_no_other_control_characters() -> None:
    assert multiline("Learns\r\n\n\tPython. ") == "Learns\n\n\tPython. "
    assert [multiline(text) for text in ("a\rb", "a\0b", "a\n\x1b[0m", "a\n\N{RIGHT-TO-LEFT OVERRIDE}b")] == [None] * 4
