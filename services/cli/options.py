"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

from services.compiler.contract import GATEWAY, load_contract

Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]


def served() -> tuple[str, ...]:
    """Return the names of what `azora serve` runs: the services of the contract, and the gateway."""
    return (*load_contract().owners, GATEWAY)
