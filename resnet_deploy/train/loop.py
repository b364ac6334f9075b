"""Training: images and a recipe in, a checkpoint, its metrics and its curves out; resumable at any step."""

from __future__ import annotations

__all__ = ["train"]

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import torch

from resnet_deploy import __version__
from resnet_deploy.core.artifacts import Manifest, is_up_to_date, read_manifest
from resnet_deploy.core.config import to_plain
from resnet_deploy.core.errors import ConfigError, TrainError
from resnet_deploy.core.files import atomic_write, check_writable, sha256_of_file
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.data.bad_images import BadImages
from resnet_deploy.data.identity import sample_identity
from resnet_deploy.data.source import ImageSource, stratified_sample
from resnet_deploy.train.curves import draw_curves
from resnet_deploy.train.distillation import AnsweredImages
from resnet_deploy.train.distributed import World, join_world
from resnet_deploy.train.images import TrainImages, open_train_images
from resnet_deploy.train.metrics import open_board
from resnet_deploy.train.options import TrainOptions, TrainResult
from resnet_deploy.train.recipe_book import recipe_toml
from resnet_deploy.train.sampler import StepSampler
from resnet_deploy.train.schedule import Schedule
from resnet_deploy.train.sets import open_splits, open_unlabelled
from resnet_deploy.train.state import TrainState, load_state, read_state
from resnet_deploy.train.step import TrainStep
from resnet_deploy.train.subject import CatalogueNet, Subject
from resnet_deploy.train.trainer import Trainer

_IMAGES = ("images", "held-out images")
_SPLITS = ("train", "val")  # in the names of the files of decoded pixels


@dataclass(frozen=True, kw_only=True, slots=True)
class _Run:
    """The parts of one run that do not change from step to step."""

    options: TrainOptions
    subject: Subject
    sources: tuple[ImageSource, ImageSource]
    world: World

    def inputs(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            n: (s.description, s.fingerprint()) for n, s in zip(_IMAGES, self.sources, strict=True)
        }
        return found | self.subject.inputs()

    def recorded_options(self) -> dict[str, Any]:
        kept = ("net", "split", "val_split", "seed", "skip_bad", "recipe", "how")
        recorded = {name: to_plain(getattr(self.options, name)) for name in kept}
        if self.options.quantized is not None:
            recorded |= {"net": self.subject.name, "qat": self.options.quantized.recorded()}
        return recorded

    def identity(self) -> dict[str, str]:
        """What makes two runs the same run."""
        options = {k: json.dumps(v, sort_keys=True) for k, v in self.recorded_options().items() if k != "how"}
        inputs = {k: v[1] if isinstance(v, tuple) else sha256_of_file(v) for k, v in self.inputs().items()}
        images = {name: sample_identity(source) for name, source in zip(_IMAGES, self.sources, strict=True)}
        return options | inputs | images

    def machine(self) -> dict[str, str]:
        """What may change the last bits of a run."""
        return {
            "resnet-deploy": __version__,
            "torch": torch.__version__,
            "device": _device_name(self.world),
            "threads": str(torch.get_num_threads()),
            "processes": str(self.world.size),
            **{
                f"files of {name}": source.fingerprint()[:12]
                for name, source in zip(_IMAGES, self.sources, strict=True)
            },
        } | {name: str(value) for name, value in to_plain(self.options.how).items()}


def train(options: TrainOptions, *, progress: Progress = NO_PROGRESS) -> TrainResult:
    """Train a network, and write what came out after the last step.

    The same options on the same machine give the same weights, bit for bit, also where the run was killed at any
    step and the same call made again.

    Raises:
        ConfigError, DataError: The options or the images can not be used; or a state of another run is in the way.
        TrainError: The loss is not finite, or another process of the job ended.
    """
    with (
        join_world(distributed=options.distributed, attempt=options.attempt) as world,
        _reproducible(options.num_threads),
    ):
        run = _open_run(options, world)
        inputs, recorded = run.inputs(), run.recorded_options()
        done = not options.force and is_up_to_date(options.out, stage="train", inputs=inputs, options=recorded)
        world.check_same("whether the checkpoint is up to date", done)
        if done:
            _remove_leftovers(options, world)  # of a run that was killed between its last two writes
            return _result(run, read_manifest(options.out).details, skipped=True)
        trainer, resumed, bad = _make_trainer(run, progress)
        try:
            trainer.run()
        except TrainError as error:
            _keep_last_good(run, trainer, error)
            raise
        finally:
            trainer.board.close()
            trainer.step.close()
        details = _details(run, trainer, resumed=resumed, bad=bad)
        if world.is_first:
            draw_curves(
                options.beside("curves.png"),
                trainer.state.rows,
                title=f"{run.subject.name} on {run.sources[0].description}",
            )
            with atomic_write(options.beside("recipe.toml")) as partial:
                partial.write_text(recipe_toml(options.recipe), encoding="utf-8")
            _save(run, trainer, options.out.name, details)
        _remove_leftovers(options, world)
        world.wait_for_all()
        return _result(run, details, skipped=False)


def _remove_leftovers(options: TrainOptions, world: World) -> None:
    """What only an unfinished run needs."""
    if world.is_first:
        for ending in ("state.safetensors", *(f"{split}.pixels{tail}" for split in _SPLITS for tail in ("", ".json"))):
            options.beside(ending).unlink(missing_ok=True)


def _open_run(options: TrainOptions, world: World) -> _Run:
    chosen = options.quantized
    subject = _subject(options)
    if chosen is not None and chosen.distill:
        sources = open_unlabelled(options.data, split=options.split, val_split=options.val_split, seed=options.seed)
    else:
        sources = open_splits(
            options.data, split=options.split, val_split=options.val_split, num_classes=options.num_classes
        )
    if chosen is not None and chosen.num_images:
        sources = (stratified_sample(sources[0], chosen.num_images, seed=options.seed), sources[1])
    return _Run(options=options, subject=subject, sources=sources, world=world)


def _subject(options: TrainOptions) -> Subject:
    if options.quantized is None:
        return CatalogueNet(options)
    from resnet_deploy.train.quantized import QuantizedNet  # needs onnx, which training otherwise does without

    return QuantizedNet(options)


def _make_trainer(run: _Run, progress: Progress) -> tuple[Trainer, int, BadImages]:
    options, recipe, world = run.options, run.options.recipe, run.world
    bad = BadImages(options.skip_bad)
    _check_before_decoding(run)
    images, held_out = _open_images(run, bad, progress)
    sampler = StepSampler(images.num_images, _batch_size(run, images.num_images), seed=options.seed)
    total = recipe.steps or sampler.steps_of(recipe.epochs)
    teacher = run.subject.teacher()
    step = TrainStep(run.subject.build(run.sources[0].classes, images), recipe, options.how, world, teacher=teacher)
    if teacher is not None:
        held_out = AnsweredImages(held_out, teacher)
    schedule = Schedule(recipe, total_steps=total, depth=run.subject.depth)
    state = _resume(run, step, schedule, progress)
    resumed = state.step
    world.check_same("the step to resume from", resumed)
    trainer = Trainer(
        recipe=recipe,
        preprocess=run.subject.preprocess,
        seed=options.seed,
        step=step,
        schedule=schedule,
        sampler=sampler,
        images=images,
        held_out=held_out,
        state=state,
        total_steps=total,
        save_every=options.save_every,
        state_file=options.beside("state.safetensors"),
        metrics_file=options.beside("metrics.jsonl"),
        world=world,
        board=open_board(options.tensorboard if world.is_first else None, after_step=resumed),
        progress=progress,
    )
    progress.start(f"training {run.subject.name} on {run.sources[0].description}", total)
    progress.advance(resumed)
    return trainer, resumed, bad


def _check_before_decoding(run: _Run) -> None:
    """What can be known before images are decoded, which takes minutes for a large set."""
    run.options.how.check_device(run.world.device)
    _batch_size(run, len(run.sources[0]))
    if run.world.is_first:
        check_writable(run.options.out)


def _open_images(run: _Run, bad: BadImages, progress: Progress) -> tuple[TrainImages, TrainImages]:
    train_images, held_out = (
        open_train_images(
            source,
            run.subject.preprocess,
            recipe,
            world=run.world,
            cache_file=run.options.beside(f"{name}.pixels"),
            num_workers=run.options.num_workers,
            bad=bad,
            progress=progress,
        )
        for source, recipe, name in zip(run.sources, (run.options.recipe, None), _SPLITS, strict=True)
    )
    return train_images, held_out


def _batch_size(run: _Run, num_images: int) -> int:
    """The recipe's, or the largest that fits fewer images than that; every part of every process gets as many."""
    wanted, size_of_job, accumulate = run.options.recipe.batch_size, run.world.size, run.options.how.accumulate
    parts = size_of_job * accumulate
    size = wanted if num_images >= wanted else num_images - num_images % parts
    if size % parts or size < 2 * parts:
        shares = [f"{size_of_job} processes"] if size_of_job > 1 else []
        shares += [f"{accumulate} parts{' in each' if shares else ''}"] if accumulate > 1 else []
        good, most = max(2, wanted // parts) * parts, num_images // 2
        remedy = "give at least 2 images" if most < 1 else f"take {most} parts or fewer, all processes together"
        raise ConfigError(
            f"batch_size {wanted} (of {num_images} images) over {' and '.join(shares) or 'one process'} does not give "
            "each of them a whole number of images, 2 or more",
            remedy=f"take --batch {good}, say" if good <= num_images else remedy,
        )
    return size


def _resume(run: _Run, step: TrainStep, schedule: Schedule, progress: Progress) -> TrainState:
    state_file = run.options.beside("state.safetensors")
    fresh = TrainState(run=run.identity(), machine=run.machine())
    if run.options.force or not state_file.is_file():
        return fresh
    found = read_state(state_file)
    if differing := [k for k in fresh.run.keys() | found.run.keys() if fresh.run.get(k) != found.run.get(k)]:
        raise ConfigError(
            f"{state_file} is the unfinished run ({found.step} steps) of another {', '.join(sorted(differing))}",
            remedy="give the options of that run to finish it, another --out, or --force to start over",
        )
    state = load_state(state_file, step)
    if changed := [k for k in fresh.machine if fresh.machine[k] != state.machine.get(k)]:
        told = ", ".join(f"{k} {state.machine.get(k)} -> {fresh.machine[k]}" for k in changed)
        progress.log(f"not as the run began, so last bits may differ from an uninterrupted one: {told}")
        state.machine = fresh.machine
    schedule.state = state.schedule
    progress.log(f"resuming after step {state.step}")
    return state


def _details(run: _Run, trainer: Trainer, *, resumed: int, bad: BadImages) -> dict[str, Any]:
    """What the first process measured; the others keep no rows."""
    rows = trainer.state.rows or [{"val_error_percent": 100.0, "train_error_percent": 100.0, "seconds": 0.0}]
    met = [image for found in run.world.gather(list(bad)) for image in found]
    everyone = BadImages(len(met))
    everyone.take(met)
    seen = trainer.state.step * trainer.sampler.batch_size
    training = sum(row["seconds"] for row in rows)
    return {
        "top1_percent": 100 - rows[-1]["val_error_percent"],
        "train_error_percent": rows[-1]["train_error_percent"],
        "num_val_images": trainer.held_out.num_images,
        "num_train_images": trainer.images.num_images,
        "epochs": seen / trainer.images.num_images,
        "steps": trainer.state.step,
        "seconds": training,
        "images_per_second": seen / training if training else 0.0,
        "device": _device_name(run.world),
        "num_processes": run.world.size,
        "resumed_from_step": resumed,
        "bad_images": [str(image) for image in everyone],
        "data": run.options.data,
    }


def _save(run: _Run, trainer: Trainer, name: str, details: dict[str, Any]) -> Manifest:
    return run.subject.save(
        run.options.out.with_name(name),
        trainer.step.weights,
        classes=run.sources[0].classes,
        inputs=run.inputs(),
        options=run.recorded_options(),
        details=details,
    )


def _keep_last_good(run: _Run, trainer: Trainer, error: TrainError) -> None:
    """Make the last state a checkpoint that another run can start from, and say so in the error."""
    state_file = run.options.beside("state.safetensors")
    if not run.world.is_first or not state_file.is_file():
        return
    good = load_state(state_file, trainer.step)
    name = f"{run.options.out.stem}.last-good{run.options.out.suffix}"
    _save(run, trainer, name, {"steps": good.step, "data": run.options.data})
    error.remedy = f"{error.remedy}; the weights after step {good.step} are in {name}, to go on from with {run.subject.start_option}"


@contextmanager
def _reproducible(num_threads: int) -> Iterator[None]:
    """Set what PyTorch keeps per process, and put it back."""
    threads, cudnn = torch.get_num_threads(), torch.backends.cudnn
    before = (cudnn.deterministic, cudnn.benchmark)
    try:
        cudnn.deterministic, cudnn.benchmark = True, False
        if num_threads:
            torch.set_num_threads(num_threads)
        with torch.random.fork_rng():
            yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before
        torch.set_num_threads(threads)


def _device_name(world: World) -> str:
    return torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else "cpu"


def _result(run: _Run, details: dict[str, Any], *, skipped: bool) -> TrainResult:
    kept = {field.name: details[field.name] for field in fields(TrainResult) if field.name in details}
    return TrainResult(
        file=run.options.out,
        metrics_file=run.options.beside("metrics.jsonl"),
        curves_file=run.options.beside("curves.png"),
        net=run.subject.name,
        num_classes=len(run.sources[0].classes),
        recipe=run.options.recipe.name,
        skipped=skipped,
        **kept | {"bad_images": tuple(kept["bad_images"])},
    )
