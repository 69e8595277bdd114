"""A command group that imports a command's module only when it is named, or listed for help."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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


class _Commands(Mapping[str, Any]):
    """Commands by name, each imported when it is looked up."""

    def __init__(self, panels: Mapping[str, Mapping[str, str]]) -> None:
        self._places = {
            name: (module, panel)
            for panel, commands in panels.items()
            for name, module in commands.items()
        }

    def __getitem__(self, name: str) -> Any:
        module, panel = self._places[name]
        command = _load(name, module)
        command.rich_help_panel = panel
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def lazy_group(panels: Mapping[str, Mapping[str, str]]) -> type[TyperGroup]:
    """A group of commands under the headings ``panels``, in their order: heading to command to
    module of ``negalign_train.commands``.
    """

    class LazyGroup(TyperGroup):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            # Typer suggests a name from the keys when a command is mistyped.
            self.commands: Any = _Commands(panels)

        def list_commands(self, ctx: Any) -> list[str]:
            return list(self.commands)

    return LazyGroup
