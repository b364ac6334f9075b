"""A command that takes files, and has sub-commands beside that: `bench FILES` and `bench compare A B`."""

from __future__ import annotations

__all__ = ["FILES", "FilesByDefault"]

from typing import Any

from typer.core import TyperGroup

FILES = "files"
"""Name of the hidden sub-command that takes the files."""


class FilesByDefault(TyperGroup):
    """`COMMAND WORDS` goes to `files` unless the first word is the name of another sub-command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args[:1] not in ([name] for name in (*self.commands, "--help")):
            args = [FILES, *args]
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        default = self.commands[FILES]
        default.format_help(type(ctx)(default, info_name=ctx.info_name, parent=ctx.parent), formatter)
        self.format_commands(ctx, formatter)
