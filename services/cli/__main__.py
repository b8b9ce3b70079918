"""The command `azora`. What a command needs is imported when it runs: `serve` needs nothing of the local system."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, NoReturn

import typer

from services.cli import containers, local, operators
from services.cli.call import call
from services.local.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Sequence

GC_THRESHOLD = 50_000
"""Allocations between two garbage collections: most of what a command allocates is what it imports, no garbage."""

app = typer.Typer(
    name="azora",
    help="Run and operate Azora Mesh.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(local.commands)
app.command()(call)
app.add_typer(operators.commands)
app.add_typer(containers.commands)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `azora` and leave with its exit code: 0 when it did what was asked, 1 when it could not, 2 for bad usage."""
    gc.set_threshold(GC_THRESHOLD)
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        app(given, prog_name="azora")
    except LocalError as error:
        from services.local.report import Report  # noqa: PLC0415

        Report(as_json="--json" in given).failure(error)
        sys.exit(1)
    sys.exit(0)


if __name__ == "__main__":
    main()
