"""Groups of commands, each imported only when it is called, and how a program of such commands ends.

A `UserError` anywhere below ends as two lines and exit code 2; Ctrl-C as 130.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any

import click

from danlu.base import interrupts
from danlu.base.errors import UserError, nearest
from danlu.base.log import rank


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


def run(group: click.Group, name: str, arguments: list[str] | None = None) -> None:
    """Run a program's command line and leave with its exit code: 0 done, 2 a mistake to mend, 130 stopped."""
    interrupts.remember()
    try:
        group.main(args=arguments, prog_name=name, standalone_mode=False)
    except UserError as error:
        print((f"[rank {rank()}] " if rank() else "") + str(error), file=sys.stderr, flush=True)
        sys.exit(2)
    except click.exceptions.Exit as leave:
        sys.exit(leave.exit_code)
    except click.UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help; click has it from 8.2 on
            print(error.format_message(), file=sys.stderr)
            sys.exit(2)
        usage = f"'{error.ctx.command_path if error.ctx else name} --help'"
        print(UserError(error.format_message(), usage), file=sys.stderr)
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt) as end:
        if isinstance(end.__cause__, EOFError):  # click takes any for the end of what is typed
            raise end.__cause__ from None
        print("stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception:
        if not interrupts.lately():
            raise
        print("stopped", file=sys.stderr)
        sys.exit(130)
