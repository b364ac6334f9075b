"""The `resnet-deploy` program: one file a command; none of them imports torch, onnx or a runtime at its top."""

from __future__ import annotations

__all__ = ["COMMANDS", "app", "main"]

import importlib
import signal
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from resnet_deploy import __version__
from resnet_deploy.cli.render import error_exit, print_data
from resnet_deploy.core.errors import Terminated

COMMANDS = {
    "demo": ("demo", "The whole path on bundled data, ending in a report."),
    "deploy": ("deploy", "The whole path of your network, from one TOML file."),
    "doctor": ("doctor", "What this machine can do, what is missing."),
    "nets": ("nets", "List the known networks, or show one."),
    "train": ("train", "Images to a checkpoint."),
    "recipes": ("recipes", "Training recipes, side by side."),
    "import": ("import_weights", "Weights (torchvision, timm, Caffe, CIFAR) or ONNX files from elsewhere."),
    "evaluate": ("evaluate", "Top-1 and top-5 of any file on labelled images."),
    "analyze": ("analyze", "Layer responses, gradient norms, training curves."),
    "export": ("export", "A checkpoint to ONNX, FP32, FP16 and BF16."),
    "ranges": ("ranges", "What FP16, BF16, FP8 or INT8 can not hold, before a conversion."),
    "scan": ("scan", "Outliers in weights and activations, and what to do about them."),
    "calibrate": ("calibrate", "Images to INT8 scales."),
    "quantize": ("quantize", "ONNX and scales to INT8 or FP8 ONNX (explicit Q/DQ)."),
    "sensitivity": ("sensitivity", "Which layers and blocks suffer from INT8."),
    "audit": ("audit", "What of a Q/DQ graph runs in INT8, what fuses, what is in the way."),
    "build": ("build", "ONNX to TensorRT or TensorRT-RTX engines."),
    "inspect": ("inspect", "What a file is and what it was made from."),
    "preflight": ("preflight", "Whether files are whole and would run on this machine, or on another GPU."),
    "sanity": ("sanity", "Whether a network answers alike in every batch; no data needed."),
    "validate": ("validate", "Verdict: two files compared on a data set."),
    "attribute": ("attribute", "Which stage lost the accuracy, in points of top-1."),
    "diverge": ("diverge", "The first layer at which two forms of a network part."),
    "bisect": ("bisect", "Which layers to keep in float for a file to hold its limit."),
    "bench": ("bench", "Latency and throughput of networks or files."),
    "estimate": ("estimate", "How fast a network can be at best on a GPU; none needed."),
    "advise": ("advise", "Which net, image size, precision and batch to take on a GPU."),
    "bundle": ("bundle", "What ships: engines, ONNX, labels, self-test in one folder or archive."),
    "cpp-path": ("cpp_path", "The C++ SDK: its prefix for CMake."),
    "report": ("report", "Verdicts, figures and the chain of files on one page."),
}
"""Command -> its module in `resnet_deploy.cli` and its line in the overview.

The module's `command` is the function, or the group, behind it.
"""


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
    rich_markup_mode=None,  # rich's help takes 0.2 s longer to start
    add_completion=True,
    help="Residual networks from PyTorch to a TensorRT engine that is proven to classify like the network you trained.",
    epilog="Exit codes: 0 done, 1 a check or verdict failed, 2 wrong usage or input, 3 missing dependency or "
    "hardware, 4 another error, 130 interrupted, 143 terminated.",
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


for _name, (_module, _line) in COMMANDS.items():
    _command = importlib.import_module(f"resnet_deploy.cli.{_module}").command
    if isinstance(_command, typer.Typer):
        app.add_typer(_command, name=_name, short_help=_line)
    else:
        app.command(_name, short_help=_line)(_command)


def main() -> None:
    """Entry point of the console script."""
    signal.signal(signal.SIGTERM, _terminate)
    raise SystemExit(error_exit(app))  # also of a signal that comes before a command has begun


def _terminate(*_: object) -> None:
    raise Terminated


if __name__ == "__main__":
    main()
