"""`resnet-deploy train`: images to a checkpoint."""

from __future__ import annotations

__all__ = ["command"]

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from resnet_deploy.cli import train_quantized as quantized
from resnet_deploy.cli.options import DEPTH, FORCE, JSON, NET, OUT, SKIP_BAD, THREADS
from resnet_deploy.cli.render import ProgressBar, note, print_data, print_json, table
from resnet_deploy.core.errors import ConfigError, ExitCode, ResnetDeployError


class Amp(str, Enum):
    """Type that convolutions run in."""

    OFF = "off"
    BF16 = "bf16"
    FP16 = "fp16"


def command(
    net: NET = None,
    depth: DEPTH = None,
    data: Annotated[
        str,
        typer.Option(
            "--data",
            help="`digits` (bundled); a folder with train/ and val/ of class subfolders, or .tar files of them; a "
            "folder of CIFAR's binary files; WebDataset shards.",
        ),
    ] = "digits",
    split: Annotated[str, typer.Option("--split", help="Part of --data to learn from.")] = "train",
    val_split: Annotated[str, typer.Option("--val-split", help="Part of --data to measure on.")] = "val",
    classes: Annotated[int | None, typer.Option("--classes", help="Number of classes to insist on.", min=1)] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Checkpoint to start from, in place of fresh weights.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", help="Name (see `resnet-deploy recipes`) or .toml file; by default what fits --data."),
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="In place of the recipe's.", min=1)] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Length in steps, in place of epochs.", min=1)] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="Peak learning rate, in place of the recipe's.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", help="In place of the recipe's batch_size.", min=2)] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="Any field of the recipe, as key=value; repeatable.")
    ] = None,
    amp: Annotated[Amp, typer.Option("--amp", help="Type that convolutions run in.")] = Amp.OFF,
    compile_net: Annotated[
        bool, typer.Option("--compile", help="Fuse with torch.compile: slower start, faster steps.")
    ] = False,
    accumulate: Annotated[
        int, typer.Option("--accumulate", help="Run each batch in so many parts, to save memory.", min=1)
    ] = 1,
    sync_bn: Annotated[bool, typer.Option("--sync-bn", help="BN over the images of all processes.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of weights, order and augmentation.", min=0)] = 0,
    threads: THREADS = 0,
    workers: Annotated[int, typer.Option("--workers", help="Decoding processes; 0 takes one a processor.", min=0)] = 0,
    skip_bad: SKIP_BAD = 0,
    save_every: Annotated[
        int, typer.Option("--save-every", help="Steps between two states to resume from.", min=1)
    ] = 500,
    qat: quantized.QAT = None,
    fp32: quantized.FROM = None,
    learn_scales: quantized.LEARN_SCALES = False,
    distill: quantized.DISTILL = False,
    images: quantized.IMAGES = 0,
    compare_fp32: quantized.COMPARE_FP32 = False,
    tensorboard: Annotated[Path | None, typer.Option("--tensorboard", help="Folder for TensorBoard's files.")] = None,
    out: OUT = None,
    force: FORCE = False,
    json: JSON = False,
) -> None:
    """Train a net; by default ResNet-20 on the bundled digits, about a minute on two cores.

    A run that was interrupted or killed goes on where it stopped, bit for bit, when the same command is given again.
    With --qat, an INT8 file goes on learning with its rounding in place, and stays an INT8 file.
    Several processes: torchrun --nproc-per-node N -m resnet_deploy train ...
    """
    distributed = "WORLD_SIZE" in os.environ and "RANK" in os.environ
    is_first = os.environ.get("RANK", "0") == "0"
    attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    with _one_voice(distributed, attempt):
        from resnet_deploy.cli.options import chosen_net
        from resnet_deploy.train.options import TrainOptions
        from resnet_deploy.train.recipe_book import load_recipe, override_recipe, usual_recipe
        from resnet_deploy.train.step import StepSettings

        start = quantized.quantized_start(
            qat,
            fp32,
            learn_scales=learn_scales,
            distill=distill,
            images=images,
            compare_fp32=compare_fp32,
            distributed=distributed,
        )
        if start is None:
            spec = chosen_net(net, depth, default="resnet20")
            name, target = spec.name, out or Path("out") / f"{spec.name}.safetensors"
            usual = usual_recipe(data, spec.family)
        else:
            _refuse_beside_qat({"--net": net, "--depth": depth, "--weights": weights, "--classes": classes})
            name, target, usual = "", out or quantized.quantized_out(start.int8), "qat"
        chosen = load_recipe(recipe or usual)
        short = {"epochs": epochs, "steps": steps, "learning_rate": lr, "batch_size": batch}
        chosen = override_recipe(chosen, [*(change or []), *(f"{k}={v}" for k, v in short.items() if v is not None)])
        options = TrainOptions(
            out=target,
            recipe=chosen,
            net=name,
            data=data,
            split=split,
            val_split=val_split,
            num_classes=classes,
            weights=weights,
            quantized=start,
            how=StepSettings(amp=amp.value, compile=compile_net, accumulate=accumulate, sync_bn=sync_bn),
            seed=seed,
            num_threads=threads,
            num_workers=workers or _share_of_processors(),
            skip_bad=skip_bad,
            save_every=save_every,
            distributed=distributed,
            attempt=attempt,
            tensorboard=tensorboard,
            force=force,
        )
    from resnet_deploy.train.allocator import keep_freed_memory
    from resnet_deploy.train.loop import train

    keep_freed_memory()
    try:
        with ProgressBar(quiet=not is_first) as progress:
            if start is not None and is_first:
                from resnet_deploy.pipeline.quantized_training import train_quantized

                result = train_quantized(options, progress, compare_fp32=compare_fp32)
            else:
                result = train(options, progress=progress)
    except KeyboardInterrupt:
        if is_first:
            raise
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    if not is_first:
        return
    if start is not None:
        quantized.show(result, json=json)
        return
    if json:
        print_json(result)
        return
    print_data(table("Training", ("", "value"), _rows(result), left=2))
    for image in result.bad_images:
        note(f"left out: {image}")
    note(f"next: resnet-deploy export {result.file}")


def _refuse_beside_qat(given: dict[str, object]) -> None:
    """Raises ConfigError for options that choose a network, which the INT8 file already is."""
    if wrong := [name for name, value in given.items() if value is not None]:
        raise ConfigError(
            f"{', '.join(wrong)} beside --qat, where the INT8 file says what is trained", remedy="leave it away"
        )


@contextmanager
def _one_voice(distributed: bool, attempt: int) -> Iterator[None]:
    """What is wrong with the options is wrong in every process of a job; one of them tells."""
    try:
        yield
    except ResnetDeployError as error:
        if distributed:
            from resnet_deploy.train.distributed import agree_who_tells

            agree_who_tells(error, attempt=attempt)
        raise


def _share_of_processors() -> int:
    """Decoding processes for this one of the processes that `torchrun` started on this machine."""
    from resnet_deploy.data.workers import num_processors

    return max(1, num_processors() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _rows(result) -> list[tuple[str, str]]:
    right = round(result.top1_percent * result.num_val_images / 100)
    machine = result.device + (f" x {result.num_processes}" if result.num_processes > 1 else "")
    resumed = f", resumed after step {result.resumed_from_step}" if result.resumed_from_step else ""
    return [
        ("net", f"{result.net}, {result.num_classes} classes, recipe {result.recipe}, {machine}"),
        ("held-out top-1", f"{result.top1_percent:.2f} % ({right} of {result.num_val_images} images)"),
        ("training error", f"{result.train_error_percent:.2f} % (augmented, in the last epoch)"),
        ("length", f"{result.steps} steps, {result.epochs:.4g} epochs of {result.num_train_images} images{resumed}"),
        ("time", f"{result.seconds:.1f} s, {result.images_per_second:,.0f} images/s"),
        ("checkpoint", f"{result.file}" + (" (up to date, not trained again)" if result.skipped else "")),
        ("curves", f"{result.curves_file}, {result.metrics_file}"),
    ]
