"""Writes everything that is compiled from the contract and committed. Run by `make generate`."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from services.compiler.contract import load_contract
from services.compiler.envoy import compose, discovery_files, write_bootstrap
from services.compiler.envoy.profiles import MOUNTED_PUBLIC_CERTIFICATE
from services.compiler.envoy.typed import readable
from services.compiler.events import events_page
from services.compiler.policy_table import policy_table
from services.compiler.service_config import service_config

if TYPE_CHECKING:
    from collections.abc import Mapping

CHECKOUT = Path(__file__).parents[2]


def compose_discovery_files() -> Mapping[str, str]:
    """Return the files that compose mounts beside any bootstrap, that of the public certificate included."""
    return discovery_files(replace(compose(), public_certificate=MOUNTED_PUBLIC_CERTIFICATE))


def main() -> None:
    """Write the service config, compose's Envoy bootstrap and the pages of policies and events below a folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("out", type=Path, nargs="?", default=CHECKOUT)
    out: Path = parser.parse_args().out
    contract = load_contract()
    for folder in ("generated/azora", "envoy/discovery", "docs"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    config = readable(service_config(contract))
    (out / "generated/azora/service_config.json").write_text(f"{config}\n")
    write_bootstrap(compose(), out / "envoy/compose.json")
    for name, text in compose_discovery_files().items():
        (out / "envoy/discovery" / name).write_text(text)
    (out / "docs/policies.md").write_text(policy_table(contract))
    (out / "docs/events.md").write_text(events_page(contract))


if __name__ == "__main__":
    main()
