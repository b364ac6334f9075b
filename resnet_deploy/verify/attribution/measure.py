"""Running a chain of networks over the same images, so that what each link loses is measured in pairs."""

from __future__ import annotations

__all__ = ["Branch", "ChainMeasurement", "measure_chain"]

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from resnet_deploy.core.errors import DataError
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.data.bad_images import BadImages
from resnet_deploy.data.batches import count_batches
from resnet_deploy.data.decode_ahead import decode_ahead
from resnet_deploy.data.preprocess import crop_pixels, normalize
from resnet_deploy.data.source import ImageSource
from resnet_deploy.data.wrong_pixels import PixelMistake
from resnet_deploy.verify.answers import comparable
from resnet_deploy.verify.attribution.chain_network import (
    ChainNetwork,
    Link,
    WrongPixels,
    difference_interval,
    points,
    step_of,
)
from resnet_deploy.verify.attribution.result import ChainFile, Interaction, PixelAlternative, Step
from resnet_deploy.verify.parity import ParityMeter


@dataclass(frozen=True, kw_only=True, slots=True)
class Branch:
    """A network beside the chain that has one of its steps made earlier.

    The chain goes `start` -> `start + 1` by `other` -> `start + 2` by `cause`; `link` is what `cause` alone makes of
    the network at `start`.
    """

    link: Link
    start: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ChainMeasurement:
    """What `measure_chain` found; see the fields of `Attribution`."""

    num_images: int
    files: tuple[ChainFile, ...]
    steps: tuple[Step, ...]
    total: Step
    interaction: Interaction | None
    pixel_alternatives: tuple[PixelAlternative, ...]
    notes: tuple[str, ...]


def measure_chain(
    source: ImageSource,
    links: Sequence[Link],
    *,
    branch: Branch | None = None,
    mistakes: Sequence[PixelMistake] = (),
    batch_size: int,
    num_threads: int = 0,
    bad: BadImages | None = None,
    progress: Progress = NO_PROGRESS,
) -> ChainMeasurement:
    """Run all links over all images in one pass: each image is decoded once, and cut once for each pixel path.

    Args:
        links: Two or more, the reference first. Neighbours that share runner and pixels are run once.
        mistakes: Measured on the last link.
    Raises:
        ConfigError: A link names no classes.
        DataError: The images have no labels, other classes than the networks, or none of them can be used.
    """
    run = _Run(source, links, branch, mistakes)
    specs = run.specs
    cuts = [mistake.cut for mistake in mistakes]

    def cut(image: np.ndarray, name: str) -> list[np.ndarray]:
        right = [crop_pixels(image, spec, name=name) for spec in specs]
        return right + [wrong(image, links[-1].preprocess) for wrong in cuts if wrong is not None]

    progress.start(f"{len(run.networks)} networks on {source.description}", count_batches(source, batch_size))
    for places, crops in decode_ahead(source, cut, batch_size=batch_size, num_threads=num_threads, bad=bad):
        run.add([np.stack(column) for column in zip(*crops, strict=True)], source.labels[places])
        progress.advance()
    return run.result()


class _Run:
    """Counts of one pass. A network is a runner with its pixels; several links may be the same one."""

    def __init__(
        self, source: ImageSource, links: Sequence[Link], branch: Branch | None, mistakes: Sequence[PixelMistake]
    ) -> None:
        self._source, self._links, self._branch, self._mistakes = source, links, branch, mistakes
        everyone = [*links, *([branch.link] if branch else [])]
        self.specs = list(dict.fromkeys(link.preprocess for link in everyone))
        self.networks: list[ChainNetwork] = []
        self._place = [self._network_of(link) for link in everyone]
        self._pairs = [(a, b) for a, b in zip(self._place, self._place[1 : len(links)], strict=False)]
        self._total = (self._place[0], self._place[len(links) - 1])
        self._meters = {pair: ParityMeter() for pair in [*self._pairs, self._total]}
        self._alternatives = [WrongPixels(mistake) for mistake in mistakes]

    def _network_of(self, link: Link) -> int:
        for place, network in enumerate(self.networks):
            if network.link.runner is link.runner and network.link.preprocess == link.preprocess:
                return place
        self.networks.append(ChainNetwork(link, self._source))
        return len(self.networks) - 1

    def add(self, crops: list[np.ndarray], labels: np.ndarray) -> None:
        """Crops: [N, H, W, 3] uint8, one for each of `specs`, then one for each mistake that cuts."""
        right = crops[: len(self.specs)]
        pixels = {spec: normalize(crop, spec) for spec, crop in zip(self.specs, right, strict=True)}
        answers = [network.add(pixels[network.link.preprocess], labels) for network in self.networks]
        for (a, b), meter in self._meters.items():
            before, after = comparable((self.networks[a].answerer, self.networks[b].answerer), (answers[a], answers[b]))
            ((name, values),) = before.items()
            meter.add(self.networks[a].ordered(values), self.networks[b].ordered(after[name]))
        if self._alternatives:
            spec = self._links[-1].preprocess
            crop = right[self.specs.index(spec)]
            self._add_mistakes(pixels[spec], crop, iter(crops[len(self.specs) :]), labels)

    def _add_mistakes(self, right: np.ndarray, crop: np.ndarray, wrong_crops, labels: np.ndarray) -> None:
        network = self.networks[self._total[1]]
        for alternative in self._alternatives:
            mistake = alternative.mistake
            wrong_crop = crop if mistake.cut is None else next(wrong_crops)
            images = (mistake.normalize or normalize)(wrong_crop, network.link.preprocess)
            alternative.add(network, right, images, labels)

    def result(self) -> ChainMeasurement:
        """The counts as a result."""
        num_images = sum(map(len, self.networks[0].hits))
        if not num_images:
            raise DataError(
                f"{self._source.description}: no image can be used", remedy="give images that can be decoded"
            )
        for network in self.networks:
            network.finish()
        steps = tuple(
            self._step(link.cause, before, link, pair)
            for before, link, pair in zip(self._links, self._links[1:], self._pairs, strict=False)
        )
        return ChainMeasurement(
            num_images=num_images,
            files=tuple(self.networks[at].file(link) for at, link in zip(self._place, self._links, strict=False)),
            steps=steps,
            total=self._step("total", self._links[0], self._links[-1], self._total),
            interaction=self._interaction(),
            pixel_alternatives=tuple(a.result(self.networks[self._total[1]]) for a in self._alternatives),
            notes=tuple(dict.fromkeys(note for network in self.networks for note in network.notes())),
        )

    def _step(self, cause: str, before: Link, after: Link, pair: tuple[int, int]) -> Step:
        first, second = (self.networks[place] for place in pair)
        return step_of(cause, before.name, after.name, first, second, self._meters[pair].result(), pair[0] == pair[1])

    def _interaction(self) -> Interaction | None:
        if self._branch is None:
            return None
        start = self._branch.start
        network, quantised, both = (self.networks[place].hit for place in self._place[start : start + 3])
        alone = self.networks[self._place[-1]].hit
        after, first = quantised.astype(int) - both, network.astype(int) - alone
        low, high = difference_interval(after - first)
        return Interaction(
            cause=self._links[start + 2].cause,
            other=self._links[start + 1].cause,
            drop_after=points(int(after.sum()), len(after)),
            drop_first=points(int(first.sum()), len(first)),
            points=points(int((after - first).sum()), len(after)),
            low=low,
            high=high,
        )
