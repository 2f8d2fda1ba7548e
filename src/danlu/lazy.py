"""A group of commands, each imported only when it is called."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

from danlu.base.errors import UserError, nearest


class Lazy(click.Group):
    """A group given as a table: the name, the module with a click command `command`, what it does."""

    def __init__(self, *args: Any, table: Mapping[str, tuple[str, str]], **keys: Any) -> None:
        super().__init__(*args, **keys)
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._table)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self._table:
            return None
        command = importlib.import_module(self._table[name][0]).command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in self._table and not args[0].startswith("-"):
            raise UserError(f"there is no command '{args[0]}'", nearest(args[0], self._table))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._table.items()])
