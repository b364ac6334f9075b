"""A runner under test at one image size: its answers to every legal image alone, and batches made of them."""

from __future__ import annotations

__all__ = ["BudgetSpent", "SanitySession", "SanityStop", "WrongShape"]

import math
import time
from collections.abc import Sequence

import numpy as np

from resnet_deploy.engine.contract import Runner
from resnet_deploy.engine.sanity.answers import Answers, AnswerScale
from resnet_deploy.engine.sanity.images import SanityImages
from resnet_deploy.engine.sanity.limits import DISTINCT

_MAX_PROBES = 8
_MAX_BYTES = 2**30
"""Of input and outputs of one batch: a batch of feature maps would else be what fills the memory."""


class SanityStop(Exception):
    """Ends a check that can not go on; its text is the reason."""


class BudgetSpent(SanityStop):
    """The next run would take longer than there is time, or more memory than the gate allows itself."""


class WrongShape(SanityStop):
    """An output has not one row for each image, or its shape changes from batch to batch."""


class SanitySession:
    """Runs batches of indices into the images, until `deadline` on time.perf_counter.

    Attributes:
        images: All legal images.
        alone: The answer to each of them at the smallest batch; the reference for every other batch.
        probes: Indices of images whose answers are all `DISTINCT` limits or more apart, the most different first; with
            fewer than two, rows can not be told apart.
        farthest: Largest distance between the answers to two images, as a share of the largest output.
        num_images: Images run so far.
    """

    def __init__(self, runner: Runner, images: SanityImages, *, smallest: int, limit: float, deadline: float) -> None:
        self._runner, self._deadline = runner, math.inf  # the images alone are always run
        self._seconds_an_image = self._bytes_an_image = 0.0
        self.images, self.smallest, self.limit = images, smallest, limit
        self.num_images = 0
        self.alone: Answers = self._answers_alone()
        self._deadline = deadline
        self.scale = AnswerScale(self.alone, limit=limit)
        self.probes = self._choose_probes()

    @property
    def can_tell_rows_apart(self) -> bool:
        return len(self.probes) >= 2

    def run(self, indices: Sequence[int]) -> Answers:
        """Answers to one batch of images, by index.

        Raises:
            BudgetSpent: It would take too long, or too much memory.
            EngineRunError: The runner failed.
            WrongShape: An output has not one row for each image, or not the rows it had for one.
        """
        count = len(indices)
        if reason := self.refusal(count):
            raise BudgetSpent(reason)
        started = time.perf_counter()
        outputs = self._runner.run({self._runner.info.inputs[0].name: self.images.rows[list(indices)]})
        seconds = (time.perf_counter() - started) / count
        # the smallest: the first run of a shape may compile kernels
        self._seconds_an_image = min(self._seconds_an_image or math.inf, seconds)
        self.num_images += count
        return self._checked(outputs, count)

    def refusal(self, count: int) -> str:
        """Why a batch of so many images will not be run: time or memory; empty where it will be."""
        needed = count * self._bytes_an_image
        if needed > _MAX_BYTES:
            return f"it needs {needed / 2**20:,.0f} MiB of host memory"
        if time.perf_counter() + count * self._seconds_an_image > self._deadline:
            return "the time given is used up"
        return ""

    def probe_batch(self, count: int, *, draw: int, before: Sequence[int] = ()) -> list[int]:
        """Indices of `count` probes in an order without a period, which would hide rows that are mixed up by it.

        As far as there are enough probes, every row differs from its neighbour, from the first row and from the same
        row of `before`, the batch that ran last.

        Args:
            draw: Another number gives another order.
        """
        rng = np.random.default_rng((count, draw))
        rows: list[int] = []
        for row in range(count):
            above = before[row : row + 1]
            for taken in ({*above, *rows[:1], *rows[-1:]}, {*above, *rows[-1:]}, set(above)):
                if free := [probe for probe in self.probes if probe not in taken]:
                    rows.append(free[int(rng.integers(len(free)))])
                    break
        return rows

    def expected(self, indices: Sequence[int]) -> Answers:
        """What `run` of these should answer, going by the images alone."""
        return {name: rows[list(indices)] for name, rows in self.alone.items()}

    def _answers_alone(self) -> Answers:
        size, total = self.smallest, len(self.images.rows)
        self._bytes_an_image = self.images.rows[0].nbytes
        parts: list[Answers] = []
        for start in range(0, total, size):
            indices = [
                (start + row) % total for row in range(size)
            ]  # the last batch is filled up with the first images
            parts.append(self.run(indices))
            if start == 0:
                self._bytes_an_image += sum(rows[0].nbytes for rows in parts[0].values())
        return {name: np.concatenate([part[name] for part in parts])[:total] for name in parts[0]}

    def _checked(self, outputs: Answers, count: int) -> Answers:
        known = getattr(self, "alone", None)
        for name, rows in outputs.items():
            if rows.ndim == 0 or len(rows) != count:
                raise WrongShape(f"output {name} is {list(rows.shape)} for {count} images")
            if known is not None and rows.shape[1:] != known[name].shape[1:]:
                raise WrongShape(
                    f"output {name} is {list(rows.shape)} for {count} images, {list(known[name].shape[1:])} for one"
                )
        return outputs

    def _choose_probes(self) -> list[int]:
        """Farthest-point selection, over the outputs in which images can be told apart at all."""
        apart = self._distances()
        enough = DISTINCT * self.limit
        telling = [matrix for matrix in apart.values() if matrix.max(initial=0.0) >= enough]
        self.farthest = max(float(matrix.max(initial=0.0)) for matrix in apart.values())
        if not telling:
            return []
        nearest = np.minimum.reduce(telling)
        if nearest.max() < enough:
            nearest = telling[0]
        chosen = [int(index) for index in np.unravel_index(nearest.argmax(), nearest.shape)]
        while len(chosen) < _MAX_PROBES:
            to_chosen = nearest[:, chosen].min(axis=1)
            if to_chosen.max() < enough:
                break
            chosen.append(int(to_chosen.argmax()))
        return chosen

    def _distances(self) -> dict[str, np.ndarray]:
        """Output -> [P, P] distance between the answers of two images; rows that are not finite are near to all."""
        total = len(self.images.rows)
        found = {name: np.zeros((total, total)) for name in self.alone}
        for index in range(total):
            one = self.expected([index] * total)
            for name, rows in self.scale.distances(self.alone, one).items():
                found[name][index] = np.where(np.isfinite(rows), rows, 0.0)
        return found
