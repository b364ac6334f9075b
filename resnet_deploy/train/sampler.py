"""Which images a step sees, and the random numbers it draws: functions of (seed, step) alone, so any step can be next."""

from __future__ import annotations

__all__ = ["StepSampler", "image_seeds", "step_generator"]

import numpy as np
import torch

_ORDER, _STEP = 1, 2  # keeps the two streams of random numbers of one seed apart


class StepSampler:
    """An endless sequence of shuffled epochs, cut into batches without regard to where an epoch ends.

    So no image is left out, as the last incomplete batch of every epoch usually is, and 64,000 batches of 128 are
    the paper's 163.84 epochs of 50,000 images.

    Args:
        num_images: N.
        batch_size: Images per step over all processes; at most N.
    """

    def __init__(self, num_images: int, batch_size: int, *, seed: int) -> None:
        self.num_images, self.batch_size = num_images, min(batch_size, num_images)
        self._seed = seed
        self._orders: dict[int, np.ndarray] = {}

    def positions(self, step: int) -> np.ndarray:
        """Places in the endless sequence of the images of a step: [B] int64."""
        return np.arange(step * self.batch_size, (step + 1) * self.batch_size, dtype=np.int64)

    def indices(self, step: int) -> np.ndarray:
        """The images of a step: [B] int64 below N."""
        positions = self.positions(step)
        epochs, places = np.divmod(positions, self.num_images)
        parts = [self._order(int(epoch))[places[epochs == epoch]] for epoch in np.unique(epochs)]
        return np.concatenate(parts)

    def epochs_after(self, num_steps: int) -> int:
        """Whole epochs in the first `num_steps` steps."""
        return num_steps * self.batch_size // self.num_images

    def steps_of(self, epochs: int) -> int:
        """Steps that hold so many epochs, rounded up."""
        return -(-epochs * self.num_images // self.batch_size)

    def _order(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            generator = torch.Generator().manual_seed(_mixed(self._seed, _ORDER, epoch))
            order = torch.randperm(self.num_images, generator=generator).numpy()
            self._orders = {key: value for key, value in self._orders.items() if key == epoch - 1} | {epoch: order}
        return self._orders[epoch]


def step_generator(seed: int, step: int) -> torch.Generator:
    """Random numbers of one step, on the CPU, so that every device draws the same ones."""
    return torch.Generator().manual_seed(_mixed(seed, _STEP, step))


def image_seeds(seed: int, positions: np.ndarray) -> np.ndarray:
    """One seed per place in the sequence, for work that is spread over processes: [B] int64, 0 or more.

    Source: Steele et al., "Fast splittable pseudorandom number generators", OOPSLA 2014 (SplitMix64's mixer).
    """
    mixed = positions.astype(np.uint64) + np.uint64(_mixed(seed, _STEP, 0))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(1)).astype(np.int64)


def _mixed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
