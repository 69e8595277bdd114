"""A command group that imports a command's module only when it is named, or listed for help."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_group


def _load(name: str, module_name: str) -> Any:
    """A module's Typer ``app``, or else its one function of the command's name, as a command."""
    module = import_module(f"negalign_train.commands.{module_name}")
    host = typer.Typer(rich_markup_mode="markdown", pretty_exceptions_enable=False)
    if hasattr(module, "app"):
        host.add_typer(module.app, name=name)
    else:
        host.command(name)(getattr(module, name))
    return get_group(host).commands[name]


def lazy_group(commands: Mapping[str, str]) -> type[TyperGroup]:
    """A group of ``commands``, name to module of ``negalign_train.commands``, in their order."""

    class LazyGroup(TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            return list(commands)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            return _load(cmd_name, commands[cmd_name]) if cmd_name in commands else None

    return LazyGroup
