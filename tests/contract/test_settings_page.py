"""The page of settings says what the settings classes are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from services.cli import settings_page

if TYPE_CHECKING:
    import pytest

PAGE = "docs/settings.md"


def test_every_setting_stands_on_the_page_with_its_meaning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(sys, "argv", ["settings_page", str(tmp_path)])
    settings_page.main()
    written = (tmp_path / PAGE).read_text()
    assert written == (Path(__file__).parents[2] / PAGE).read_text()
    for _, kind in settings_page.sections():
        for name, field in kind.model_fields.items():
            assert field.description, f"{kind.__name__}.{name}"
            assert f"`AZORA_{name.upper()}`" in written
