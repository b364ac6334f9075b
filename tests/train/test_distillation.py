from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from resnet_deploy.train.distillation import AnsweredImages, distillation_loss
from resnet_deploy.train.distributed import SINGLE
from resnet_deploy.train.recipe_book import load_recipe, override_recipe
from resnet_deploy.train.step import StepSettings, TrainStep


def test_the_loss_is_the_noise_over_the_signal_whatever_the_size_of_the_logits():
    answers = torch.tensor([[1.0, 2.0, -3.0], [0.0, 0.0, 5.0]])
    noise = torch.tensor([[0.3, 0.0, 0.0], [0.0, -0.4, 0.0]])
    assert float(distillation_loss(answers.clone(), answers)) == 0
    for size in (1.0, 50.0):  # 0.25 of 39, by hand
        assert float(distillation_loss(size * (answers + noise), size * answers)) == pytest.approx(0.25 / 39)


class Linear(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.fc = nn.Linear(3, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x.mean(dim=(2, 3)))


class FakeImages:
    """Five images whose labels nobody may read."""

    num_images = 5

    def inputs(self, part):
        images = torch.randn(5, 3, 2, 2, generator=torch.Generator().manual_seed(3))
        yield images[part], torch.full((len(range(5)[part]),), -1)

    def batches(self, sampler, steps, span, seed):
        return iter(())

    def mean_image(self):
        return torch.zeros(3, 2, 2)


def test_labels_of_answered_images_are_the_teachers_answers():
    teacher = Linear(0)
    images, labels = next(AnsweredImages(FakeImages(), teacher).inputs(slice(1, None, 2)))
    assert len(images) == 2
    assert torch.equal(labels, teacher(images).argmax(1))


def test_a_step_with_a_teacher_learns_its_answers_and_leaves_it_as_it_is():
    recipe = override_recipe(load_recipe("qat"), {"weight_decay": 0.0, "norm_weight_decay": None, "clip_norm": 0.0})
    teacher, net = Linear(0), Linear(1)
    before = teacher.fc.weight.detach().clone()
    step = TrainStep(net, recipe, StepSettings(), SINGLE, teacher=teacher)
    images = torch.randn(8, 3, 2, 2, generator=torch.Generator().manual_seed(3))
    nonsense = torch.full((8,), -1)
    with torch.no_grad():
        expected_loss = float(distillation_loss(Linear(1)(images), teacher(images)))
    expected_wrong = int((net(images).argmax(1) != teacher(images).argmax(1)).sum())
    losses = []
    for _ in range(60):
        loss, wrong = step.run(images, nonsense, rate=0.05)
        losses.append((float(loss), int(wrong)))
    assert losses[0][1] == expected_wrong > 0
    assert losses[0][0] == pytest.approx(expected_loss, rel=1e-5)
    assert losses[-1][0] < 0.1 * losses[0][0] and math.isfinite(losses[-1][0])
    assert torch.equal(teacher.fc.weight, before) and teacher.fc.weight.grad is None
