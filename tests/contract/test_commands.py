"""The commands that pages show exist as they are written: targets, options, routes, RPCs, containers."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import typer
from google.protobuf.json_format import Parse
from google.protobuf.message_factory import GetMessageClass
from typer.core import TyperGroup
from typer.exceptions import TyperException

from services.cli.__main__ import app
from services.compiler.contract import OPENAPI, load_contract
from tests.support.compose import containers
from tests.support.kubernetes import of_kind
from tests.support.pages import GUIDES, PAGES, ROOT, blocks, shell_lines, simple_commands

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([\w./-]+(?: [\w./-]+)*):", MAKEFILE, re.MULTILINE))
DOCUMENT = json.loads(OPENAPI.read_text())
PROCESS = {"/health", "/docs", "/openapi.json"}
"""Routes of the gateway's own."""
OTHER_TOOLS = {"python", "python3", "pip", "npm", "node", "openssl", "cp", "mv"}
COMPOSE_VERBS = {"up", "down", "run", "exec", "stop", "cp", "logs", "ps"}
OPTIONS_WITH_VALUE = {"-d", "-H", "-X", "--cacert", "--protocol", "-U", "--dbname", "--format", "-c"}


def make(arguments: Sequence[str]) -> None:
    targets = {name for line in TARGETS for name in line.split()}
    assert {each for each in arguments if "=" not in each} <= targets


def azora(arguments: Sequence[str]) -> None:
    command: Any = typer.main.get_command(app)
    rest = list(arguments)
    while isinstance(command, TyperGroup) and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        assert name in command.commands, f"azora has no {name}"
        command = command.commands[name]
    if isinstance(command, TyperGroup):
        assert set(rest) <= {option for parameter in command.params for option in parameter.opts}
    else:
        command.make_context("azora", rest)


def curl(arguments: Sequence[str]) -> None:
    url = next(each for each in arguments if re.match(r"(https?://)?(localhost|127\.0\.0\.1):", each))
    path = "/" + url.split("://")[-1].partition("/")[2].partition("?")[0]
    body = _option(arguments, "-d")
    verb = (_option(arguments, "-X") or ("POST" if body else "GET")).lower()
    templates = {re.sub(r"\{\w+\}", "[^/:]+", template): item for template, item in DOCUMENT["paths"].items()}
    found = [item for template, item in templates.items() if re.fullmatch(template, path)]
    assert (path in PROCESS and verb == "get") or (found and verb in found[0]), f"{verb} {path}"
    if body:
        _parses(found[0][verb]["operationId"], body)


def grpcurl(arguments: Sequence[str]) -> None:
    _rpcs(arguments)


def buf(arguments: Sequence[str]) -> None:
    assert arguments[0] == "curl"
    _rpcs([each.split("://")[-1].partition("/")[2] for each in arguments if "://" in each])


def pytest_(arguments: Sequence[str]) -> None:
    new = {block.path for page in GUIDES for block in blocks(page)}
    assert all((ROOT / each).exists() or each in new for each in arguments if not each.startswith("-"))


def docker(arguments: Sequence[str]) -> None:
    compose, verb, *rest = arguments
    assert (compose, verb in COMPOSE_VERBS) == ("compose", True)
    named = _positional(rest)
    if verb in ("run", "exec"):
        name, *command = named
        assert name in containers()
        if verb == "run" and containers()[name]["image"] == "azora:local":
            azora(rest[rest.index(name) + 1 :])
        else:
            assert command
    elif verb == "cp":
        assert any(each.partition(":")[0] in containers() for each in named)
    else:
        assert set(named) <= set(containers())


def kubectl(arguments: Sequence[str]) -> None:
    assert arguments[0] in ("apply", "delete", "rollout", "create")
    for each in arguments:
        kind, _, name = each.partition("/")
        if kind == "deployment":
            assert name in of_kind("Deployment")


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "make": make,
    "azora": azora,
    "curl": curl,
    "grpcurl": grpcurl,
    "buf": buf,
    "pytest": pytest_,
    "docker": docker,
    "kubectl": kubectl,
}


@pytest.mark.parametrize("page", PAGES)
def test_commands_exist(page: str) -> None:
    for container in (False, True):
        for line in shell_lines(page, container=container):
            for command in simple_commands(line):
                name = command[0].rpartition("/")[2]
                assert (name in ("docker", "kubectl")) <= container, f"not marked as a container command: {line}"
                if name in COMMANDS:
                    try:
                        COMMANDS[name](command[1:])
                    except (AssertionError, StopIteration, TyperException) as error:
                        pytest.fail(f"{page}: {line}\n{error}")
                else:
                    assert name in OTHER_TOOLS, f"{page}: {line}"


@pytest.mark.parametrize("page", PAGES)
def test_targets_and_commands_in_the_text_exist(page: str) -> None:
    for name, *arguments in (
        found.split() for found in re.findall(r"`((?:make|azora) [^`]+)`", (ROOT / page).read_text())
    ):
        if name == "make":
            make(arguments)
        else:
            command: Any = typer.main.get_command(app)
            while isinstance(command, TyperGroup) and arguments:
                assert arguments[0] in command.commands, arguments
                command = command.commands[arguments.pop(0)]


def test_every_command_in_a_block_is_in_a_marked_one() -> None:
    for page in PAGES:
        for block in blocks(page):
            if not block.language:
                first = block.text.split()[:1]
                assert not (first and (first[0] in COMMANDS or shutil.which(first[0]))), f"{page}: {block.text}"


def _positional(arguments: Sequence[str]) -> list[str]:
    skipped = False
    found = []
    for each in arguments:
        if not each.startswith("-") and not skipped:
            found.append(each)
        skipped = each in OPTIONS_WITH_VALUE
    return found


def _option(arguments: Sequence[str], name: str) -> str:
    return arguments[arguments.index(name) + 1] if name in arguments else ""


def _rpcs(arguments: Sequence[str]) -> None:
    paths = load_contract().methods
    for each in arguments:
        if re.fullmatch(r"azora[\w.]+/\w+", each):
            assert f"/{each}" in paths, each
            if body := _option(arguments, "-d"):
                _parses(each, body)


def _parses(name: str, body: str) -> None:
    """Parse a request of an RPC, by its gRPC name or as `Service_Method`."""
    wanted = "/" + name.replace("_", "/")
    (method,) = [
        method for path, method in load_contract().methods.items() if path.endswith((f".{wanted[1:]}", wanted))
    ]
    Parse(body, GetMessageClass(method.input_type)(), descriptor_pool=load_contract().pool)
