"""Writes everything that is compiled from the contract and committed. Run by `make generate`."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.compiler.contract import load_contract
from services.compiler.envoy import compose, discovery_files, kubernetes, write_bootstrap
from services.compiler.envoy.profiles import MOUNTED_PUBLIC_CERTIFICATE
from services.compiler.envoy.settings import EnvoySettings
from services.compiler.envoy.typed import readable
from services.compiler.errors_page import errors_page
from services.compiler.events import events_page
from services.compiler.kubernetes import kubernetes_files
from services.compiler.kubernetes.settings import settings as kubernetes_settings
from services.compiler.openapi import openapi, read_comments
from services.compiler.policy_table import policy_table
from services.compiler.service_config import service_config

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CHECKOUT = Path(__file__).parents[2]
GENERATED = "# Compiled from the contract by `make generate`."


def compose_discovery_files() -> Mapping[str, str]:
    """Return the files that compose mounts beside any bootstrap, that of the public certificate included."""
    return discovery_files(replace(compose(), public_certificate=MOUNTED_PUBLIC_CERTIFICATE))


def main() -> None:
    """Write the service config, the OpenAPI document, the bootstraps, the kustomize base, the pages of the contract."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("out", type=Path, nargs="?", default=CHECKOUT)
    out: Path = parser.parse_args().out
    contract = load_contract()
    for folder in ("generated/azora", "envoy/discovery", "deploy/kubernetes", "docs"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    config = readable(service_config(contract))
    (out / "generated/azora/service_config.json").write_text(f"{config}\n")
    comments = read_comments(CHECKOUT / "protos", contract)
    document = readable(openapi(contract, comments))
    (out / "generated/azora/openapi.json").write_text(f"{document}\n")
    write_bootstrap(compose(), out / "envoy/compose.json")
    write_bootstrap(kubernetes(_settings_in_pods()), out / "envoy/kubernetes.json")
    for name, text in compose_discovery_files().items():
        (out / "envoy/discovery" / name).write_text(text)
    for name, resources in kubernetes_files(contract).items():
        (out / "deploy/kubernetes" / name).write_text(as_yaml(resources))
    (out / "docs/policies.md").write_text(policy_table(contract))
    (out / "docs/events.md").write_text(events_page(contract))
    (out / "docs/errors.md").write_text(errors_page(contract, comments))


def as_yaml(resources: Sequence[Mapping[str, Any]]) -> str:
    """Return resources as a file of YAML."""
    import yaml  # noqa: PLC0415 - what runs in containers has no need of it

    class Dumper(yaml.SafeDumper):
        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002 - PyYAML's
            super().increase_indent(flow, indentless=False)

        def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML's
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, text)  # A script is shown as its lines.
    # A wrapped line may end in a space.
    written = yaml.dump_all(resources, Dumper=Dumper, sort_keys=False, width=4096, explicit_start=len(resources) > 1)
    return f"{GENERATED}\n{written}"


def _settings_in_pods() -> EnvoySettings:
    """Return the settings that Envoy's pod compiles its bootstrap with, unless they are changed."""
    prefix = "AZORA_"
    given = {name: value for name, value in kubernetes_settings().items() if name.startswith(prefix)}
    return EnvoySettings.model_validate({name.removeprefix(prefix).lower(): value for name, value in given.items()})


if __name__ == "__main__":
    main()
