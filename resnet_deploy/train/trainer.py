"""The loop over steps: what happens between two of them, and when something is measured or kept."""

from __future__ import annotations

__all__ = ["Trainer"]

import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from resnet_deploy.core.errors import TrainError
from resnet_deploy.core.progress import Progress
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.train.augment import augment, draw_augmentation
from resnet_deploy.train.distributed import World
from resnet_deploy.train.images import TrainImages, error_counts
from resnet_deploy.train.metrics import Board, write_metrics
from resnet_deploy.train.mixing import draw_mix
from resnet_deploy.train.recipe import Recipe
from resnet_deploy.train.sampler import StepSampler, step_generator
from resnet_deploy.train.schedule import Schedule
from resnet_deploy.train.state import Metrics, TrainState, save_state
from resnet_deploy.train.step import TrainStep

_BOARD_EVERY = 50  # steps


@dataclass(kw_only=True, slots=True)
class Trainer:
    """One run under way.

    Attributes:
        state_file, metrics_file: Written by the first process only.
        save_every: Steps between two states; one is also written at every look at the held-out images.
    """

    recipe: Recipe
    preprocess: Preprocess
    seed: int
    step: TrainStep
    schedule: Schedule
    sampler: StepSampler
    images: TrainImages
    held_out: TrainImages
    state: TrainState
    total_steps: int
    save_every: int
    state_file: Path
    metrics_file: Path
    world: World
    board: Board
    progress: Progress
    _unread: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    _mark: float = 0.0
    _speed: float = 0.0

    def run(self) -> None:
        """Train until `total_steps`.

        Raises:
            TrainError: The loss is not finite; says where.
        """
        size = self.sampler.batch_size
        span = self.world.share(size)
        draws_dropout = any(isinstance(module, nn.Dropout) and module.p > 0 for module in self.step.net.modules())
        check_every = 1 if self.world.device.type == "cpu" else 16  # reading a loss makes the host wait for a GPU
        self._mark = time.perf_counter()
        batches = self.images.batches(self.sampler, range(self.state.step, self.total_steps), span, self.seed)
        for pixels, labels in batches:
            done = self.state.step
            generator = step_generator(self.seed, done)
            draws = draw_augmentation(self.recipe, size, generator).part(span)
            mix = draw_mix(self.recipe, generator)
            if draws_dropout:
                torch.manual_seed(int(torch.randint(2**62, (), generator=generator)) + self.world.rank)
            inputs = augment(pixels, draws, self.preprocess, pad=self.recipe.crop_padding_px)
            rate = self.schedule.rate(done)
            self._unread.append(self.step.run(inputs, labels, rate=rate, mix=mix))
            self.state.step += 1
            ends_epoch = self.sampler.epochs_after(self.state.step) > self.sampler.epochs_after(done)
            ends = ends_epoch or self.state.step == self.total_steps
            saves = ends or self.state.step % self.save_every == 0
            if saves or self.schedule.needs_errors or len(self._unread) >= check_every:
                self._read_losses(rate)
            if ends:
                self._end_row(rate)
            if saves and self.world.is_first:
                self.state.schedule = self.schedule.state
                save_state(self.state_file, self.state, self.step)
                self._mark = time.perf_counter()

    def _read_losses(self, rate: float) -> None:
        losses, wrongs = self._sums_of_all()
        first = self.state.step - len(losses)
        for index, loss in enumerate(losses):
            if not math.isfinite(loss):
                raise self._not_finite(loss, first + index)
            self.state.metrics.loss += loss  # one by one: the same bits whatever the number read at once
        metrics, now = self.state.metrics, time.perf_counter()
        metrics.steps += len(losses)
        metrics.wrong += int(sum(wrongs))
        metrics.images += len(losses) * self.sampler.batch_size
        speed = len(losses) * self.sampler.batch_size / max(now - self._mark, 1e-9)
        self._speed = 0.9 * self._speed + 0.1 * speed if self._speed else speed
        metrics.seconds += now - self._mark
        self._mark = now
        if self.schedule.needs_errors:
            self.schedule.after_step(100 * wrongs[-1] / self.sampler.batch_size)
        self.progress.advance(len(losses), note=f"loss {losses[-1]:.3f}  lr {rate:.4g}  {self._speed:,.0f} img/s")
        if self.state.step % _BOARD_EVERY < len(losses):
            self.board.add_scalar("train/loss", losses[-1], self.state.step)
            self.board.add_scalar("train/learning_rate", rate, self.state.step)
            self.board.add_scalar("train/images_per_second", self._speed, self.state.step)
        self._unread = []

    def _sums_of_all(self) -> tuple[list[float], list[float]]:
        """Loss and number of wrong answers of the unread steps, over all processes.

        Exchanged for every step, so that a loss that is not finite ends all processes at the same one.
        """
        losses, wrongs = (torch.stack(column).tolist() for column in zip(*self._unread, strict=True))
        both = self.world.total([*losses, *wrongs])
        return [loss / self.world.size for loss in both[: len(losses)]], both[len(losses) :]

    def _end_row(self, rate: float) -> None:
        epoch = self.sampler.epochs_after(self.state.step)
        last = self.state.step == self.total_steps
        error = self._look() if last or epoch % self.recipe.evaluate_every == 0 else None
        metrics, seconds = self.state.metrics, self.state.metrics.seconds
        if self.world.is_first:
            row = {
                "epoch": epoch,
                "step": self.state.step,
                "train_loss": metrics.loss / metrics.steps,
                "train_error_percent": 100 * metrics.wrong / metrics.images,
                "val_error_percent": error,
                "learning_rate": rate,
                "images_per_second": metrics.images / seconds,
                "seconds": seconds + time.perf_counter() - self._mark,
            }
            self.state.rows.append(row)
            write_metrics(self.metrics_file, self.state.rows)
            self._tell(row)
        self.state.metrics = Metrics()
        self._mark = time.perf_counter()

    def _look(self) -> float:
        for net in {id(n): n for n in (self.step.net, self.step.weights)}.values():
            self.world.copy_buffers_of_first(net)
        wrong, images = error_counts(self.step.weights, self.held_out, world=self.world)
        error = 100 * wrong / images
        if self.schedule.after_look(error):
            self.progress.log(f"step {self.state.step}: held-out error has stopped falling, learning rate / 10")
        return error

    def _tell(self, row: dict) -> None:
        self.board.add_scalar("train/error_percent", row["train_error_percent"], row["step"])
        if row["val_error_percent"] is None:
            return
        self.board.add_scalar("val/error_percent", row["val_error_percent"], row["step"])
        self.progress.log(
            f"epoch {row['epoch']}, step {row['step']}/{self.total_steps}: train loss {row['train_loss']:.3f}, train "
            f"error {row['train_error_percent']:.2f} %, held-out error {row['val_error_percent']:.2f} %, "
            f"{row['images_per_second']:,.0f} img/s"
        )

    def _not_finite(self, loss: float, step: int) -> TrainError:
        peak = self.recipe.learning_rate
        return TrainError(
            f"the loss is {loss} at step {step + 1} of {self.total_steps} (epoch "
            f"{self.sampler.epochs_after(step) + 1}), at learning rate {self.schedule.rate(step):.4g}; "
            "the last good state and any earlier checkpoint are kept",
            remedy=f"train with a lower peak rate than {peak:g} (--lr), a longer warm-up (--set warmup_fraction=0.3), "
            "or a bound on the gradients (--set clip_norm=1)",
        )
