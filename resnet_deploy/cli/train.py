"""`resnet-deploy train`: images to a checkpoint."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path
from typing import Annotated

import typer

from resnet_deploy.cli.options import DEPTH, FORCE, JSON, NET, OUT, THREADS
from resnet_deploy.cli.render import ProgressBar, note, print_data, print_json, table


def command(
    net: NET = None,
    depth: DEPTH = None,
    data: Annotated[
        str, typer.Option("--data", help="`digits` (bundled), or a folder with train/ and val/ of class subfolders.")
    ] = "digits",
    split: Annotated[str, typer.Option("--split", help="Part of --data to learn from.")] = "train",
    val_split: Annotated[str, typer.Option("--val-split", help="Part of --data to measure on.")] = "val",
    classes: Annotated[int | None, typer.Option("--classes", help="Number of classes to insist on.", min=1)] = None,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", help="fast-digits, fast-cifar, paper-cifar, or a .toml file; by default fast-*."),
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="In place of the recipe's.", min=1)] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="Peak learning rate, in place of the recipe's.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", help="In place of the recipe's batch_size.", min=2)] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="Any field of the recipe, as key=value; repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of weights, order and augmentation.", min=0)] = 0,
    threads: THREADS = 0,
    out: OUT = None,
    force: FORCE = False,
    json: JSON = False,
) -> None:
    """Train a net from fresh weights; by default ResNet-20 on the bundled digits, about a minute on two cores.

    An interrupted run goes on where it stopped when the same command is given again.
    """
    from resnet_deploy.cli.options import chosen_net
    from resnet_deploy.train.recipe import load_recipe, override_recipe, usual_recipe

    spec = chosen_net(net, depth, default="resnet20")
    chosen = load_recipe(recipe or usual_recipe(data))
    short = {"epochs": epochs, "learning_rate": lr, "batch_size": batch}
    chosen = override_recipe(chosen, [*(change or []), *(f"{k}={v}" for k, v in short.items() if v is not None)])

    from resnet_deploy.train.loop import TrainOptions, train

    options = TrainOptions(
        out=out or Path("out") / f"{spec.name}.safetensors",
        recipe=chosen,
        net=spec.name,
        data=data,
        split=split,
        val_split=val_split,
        num_classes=classes,
        seed=seed,
        num_threads=threads,
        force=force,
    )
    with ProgressBar() as progress:
        result = train(options, progress=progress)
    if json:
        print_json(result)
        return
    right = round(result.top1_percent * result.num_val_images / 100)
    rows = [
        ("net", f"{result.net}, {result.num_classes} classes, recipe {result.recipe}, {result.device}"),
        ("held-out top-1", f"{result.top1_percent:.2f} % ({right} of {result.num_val_images} images)"),
        ("epochs", f"{result.epochs} ({result.steps} steps, {result.num_train_images} images)"),
        ("time", f"{result.seconds:.1f} s, {result.images_per_second:,.0f} images/s"),
        ("checkpoint", f"{result.file}" + (" (up to date, not trained again)" if result.skipped else "")),
        ("curves", f"{result.curves_file}, {result.metrics_file}"),
    ]
    print_data(table("Training", ("", "value"), rows, left=2))
    note(f"next: resnet-deploy export {result.file}")
