"""Learning from another network's answers in place of labels."""

from __future__ import annotations

__all__ = ["AnsweredImages", "distillation_loss"]

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from resnet_deploy.train.images import TrainImages
from resnet_deploy.train.sampler import StepSampler


def distillation_loss(logits: Tensor, answers: Tensor) -> Tensor:
    """Power of the difference over the power of the answers, both [N, K]: 0 where they agree, 0.01 at 20 dB.

    Relative, so that a learning rate that suits one network suits another whose logits are larger. On logits and not
    on probabilities, because most of what rounding changes does not show in those (measured on ResNet-20: the
    divergence of the probabilities fell without the answers agreeing more often).
    """
    return functional.mse_loss(logits, answers) / answers.square().mean()


class AnsweredImages:
    """Images whose labels are a network's answers: an error is an answer that differs from its."""

    def __init__(self, images: TrainImages, teacher: nn.Module) -> None:
        self.num_images = images.num_images
        self._images, self._teacher = images, teacher

    def batches(self, sampler: StepSampler, steps: range, span: slice, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        return self._images.batches(sampler, steps, span, seed)

    def inputs(self, part: slice) -> Iterator[tuple[Tensor, Tensor]]:
        for images, _ in self._images.inputs(part):
            with torch.inference_mode():
                answers = self._teacher(images).argmax(1)
            yield images, answers

    def mean_image(self) -> Tensor:
        return self._images.mean_image()
