"""A command that takes files, and has sub-commands beside that: `bench FILES` and `bench compare A B`."""

from __future__ import annotations

__all__ = ["FILES", "FilesByDefault"]

import difflib
import os
from typing import Any

from typer.core import TyperGroup

FILES = "files"
"""Name of the hidden sub-command that takes the files."""


class FilesByDefault(TyperGroup):
    """`COMMAND WORDS` goes to `files` unless the first word is the name of another sub-command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args[:1] not in ([name] for name in (*self.commands, "--help")):
            self._check_word(ctx, args)
            args = [FILES, *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:  # the command line as it was typed: without the name of the hidden sub-command
            inner = getattr(error, "ctx", None)
            if inner is not None and inner.info_name == FILES:
                inner.info_name, inner.parent = ctx.info_name, ctx.parent
            raise

    def _check_word(self, ctx: Any, args: list[str]) -> None:
        """A first word that is no file, but nearly a sub-command, is a slip of the fingers."""
        names = [name for name, command in self.commands.items() if not command.hidden]
        if args and not os.path.lexists(args[0]) and (close := difflib.get_close_matches(args[0], names, 1, 0.75)):
            ctx.fail(f"there is no file {args[0]!r}, and no command of this name; did you mean {close[0]!r}?")

    def format_help(self, ctx: Any, formatter: Any) -> None:
        default = self.commands[FILES]
        default.format_help(type(ctx)(default, info_name=ctx.info_name, parent=ctx.parent), formatter)
        self.format_commands(ctx, formatter)
