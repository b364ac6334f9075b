"""The `resnet-deploy` program: one file a command; none of them imports torch, onnx or a runtime at its top."""

from __future__ import annotations

__all__ = ["COMMANDS", "app", "main"]

import importlib
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from resnet_deploy import __version__
from resnet_deploy.cli.render import error_exit, print_data

COMMANDS = {
    "demo": "demo",
    "deploy": "deploy",
    "doctor": "doctor",
    "nets": "nets",
    "train": "train",
    "import": "import_weights",
    "evaluate": "evaluate",
    "export": "export",
    "calibrate": "calibrate",
    "quantize": "quantize",
    "build": "build",
    "inspect": "inspect",
    "validate": "validate",
    "bench": "bench",
}
"""Command -> its module in `resnet_deploy.cli`; the module's `command` is the function (or a group) behind it."""


class _Group(TyperGroup):
    """Ends every command with the documented exit code and one message."""

    def invoke(self, ctx: Any) -> Any:
        raise typer.Exit(error_exit(lambda: super(_Group, self).invoke(ctx)))

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    help="Residual networks from PyTorch to a TensorRT engine that is proven to classify like the network you trained.",
    epilog="Exit codes: 0 done, 1 a check or verdict failed, 2 wrong usage or input, 3 missing dependency or "
    "hardware, 4 another error, 130 interrupted.",
)


def _show_version(asked: bool) -> None:
    if asked:
        print_data(f"resnet-deploy {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    pass


for _name, _module in COMMANDS.items():
    _command = importlib.import_module(f"resnet_deploy.cli.{_module}").command
    if isinstance(_command, typer.Typer):
        app.add_typer(_command, name=_name)
    else:
        app.command(_name)(_command)


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
